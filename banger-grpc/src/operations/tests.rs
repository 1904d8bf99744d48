//! Beginning and draining, in every order.

use std::task::Poll;

use banger_api::v1::DeleteKernelRequest;
use banger_core::{
    catalog::SupplyOptions,
    clock::SystemClock,
    directories::Directories,
    local::{Local, LocalOptions},
    oci::SourceOptions,
    rootfs::RootfsLimits,
    store::Connections,
    vm::MonitorProgram,
    vmm::VmmPrograms,
};
use camino::{Utf8Path, Utf8PathBuf};
use futures_util::poll;
use tempfile::TempDir;

use super::*;
use crate::{
    capacity::Budget,
    uploads::{UploadLimits, Uploads},
};

async fn operations(scratch: &TempDir) -> Operations {
    let root = Utf8Path::from_path(scratch.path()).unwrap();
    let nowhere = Utf8PathBuf::from("/nowhere");
    let directories = Directories {
        state: root.join("state"),
        cache: root.join("cache"),
        runtime: root.join("run"),
    };
    let uploads = directories.cache.join("uploads");
    let local = Local::open(LocalOptions {
        connections: Connections::default(),
        guest_program: nowhere.clone(),
        monitor: MonitorProgram {
            program: nowhere,
            arguments: Vec::new(),
        },
        vmm: VmmPrograms::default(),
        sources: SourceOptions::new(directories.clone()),
        limits: RootfsLimits::default(),
        supply: SupplyOptions::default(),
        directories,
    });
    let local = local.await.unwrap();
    Operations::new(Backend {
        images: local.images,
        kernels: local.kernels,
        vms: local.vms,
        builder: local.builder,
        doctor: local.doctor,
        volumes: local.volumes,
        store: local.store,
        uploads: Uploads::new(uploads, UploadLimits::default()),
        clock: Arc::new(SystemClock),
        budget: Budget::default(),
    })
}

/// Work that finds nothing to do.
fn work() -> Settled {
    Work::DeleteKernel(DeleteKernelRequest::default()).into()
}

fn asked(request_id: &str) -> Asked {
    Asked {
        caller: "somebody".to_owned(),
        request_id: request_id.to_owned(),
        digest: "same".to_owned(),
    }
}

async fn recorded(operations: &Operations) -> usize {
    let store = &operations.inner.backend.store;
    store
        .operations_of(None, None, false, 10)
        .await
        .unwrap()
        .len()
}

#[tokio::test]
async fn what_was_let_in_before_a_drain_and_comes_after_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let operations = operations(&scratch).await;
    let begun = operations.begin(asked("a"), work()).await.unwrap();
    assert_eq!(operations.finish(Duration::from_mins(1)).await, 0);
    // also what was begun before: it is looked up, and not begun again
    for request in ["a", "b"] {
        let refused = operations.begin(asked(request), work()).await.unwrap_err();
        assert_eq!(refused.reason(), ErrorReason::ServerDraining);
    }
    assert_eq!(recorded(&operations).await, 1);
    let known = operations.known(&asked("a")).await.unwrap().unwrap();
    assert_eq!(known.id, begun.id);
}

#[tokio::test]
async fn a_drain_waits_for_what_is_being_begun_and_lets_nothing_past() {
    let scratch = tempfile::tempdir().unwrap();
    let operations = operations(&scratch).await;
    // somebody is between the record and the list
    let beginning = operations.inner.beginning.lock().await;
    let mut drained = Box::pin(operations.finish(Duration::ZERO));
    assert_eq!(poll!(&mut drained), Poll::Pending);
    let mut late = Box::pin(operations.begin(asked("late"), work()));
    assert!(poll!(&mut late).is_pending());
    drop(beginning);
    assert_eq!(drained.await, 0);
    let refused = late.await.unwrap_err();
    assert_eq!(refused.reason(), ErrorReason::ServerDraining);
    assert_eq!(recorded(&operations).await, 0);
}
