//! Sessions against real SQLite files, and against clocks that jump.

use std::time::{Duration, UNIX_EPOCH};

use camino::Utf8Path;
use tempfile::TempDir;

use super::{
    super::tests::{image, kernel, vm},
    *,
};
use crate::{
    directories::Directories,
    domain::{Lease, OnExpiry, SinceBoot, VmState},
};

async fn open(scratch: &TempDir) -> Store {
    let root = Utf8Path::from_path(scratch.path()).unwrap();
    let directories = Directories {
        state: root.join("state"),
        cache: root.join("cache"),
        runtime: root.join("run"),
    };
    Store::open(&directories).await.unwrap()
}

/// A moment by the wall clock and by the clock of the host's boot.
fn moment(wall: u64, elapsed: u64) -> Moment {
    Moment {
        wall: UNIX_EPOCH + Duration::from_secs(wall),
        since_boot: Some(SinceBoot {
            boot_id: "boot".to_owned(),
            elapsed: Duration::from_secs(elapsed),
        }),
    }
}

fn lease(now: &Moment) -> GrantedLease {
    GrantedLease {
        lease: Lease {
            max_lifetime: Some(Duration::from_secs(10)),
            idle_timeout: None,
            on_expiry: OnExpiry::Delete,
        },
        granted: now.clone(),
    }
}

async fn keep(store: &Store, now: &Moment) -> Session {
    let name = "ci".parse().unwrap();
    let kept = store.keep_session("ann", &name, now, |_| lease(now));
    kept.await.unwrap()
}

#[tokio::test]
async fn a_session_that_is_over_is_never_kept_again_whatever_the_wall_clock_says() {
    let scratch = tempfile::tempdir().unwrap();
    let store = open(&scratch).await;
    let first = keep(&store, &moment(1000, 50)).await;
    // the wall clock is set back and forth
    let later = moment(5, 59);
    let kept = keep(&store, &later).await;
    assert_eq!((kept.id, kept.lease), (first.id, lease(&later)));
    let far = moment(1 << 32, 68);
    let kept = keep(&store, &far).await;
    assert!(!kept.is_over(&moment(0, 77)));
    // whoever comes too late finds it as it was
    let late = moment(0, 78);
    let over = keep(&store, &late).await;
    assert_eq!(over, kept);
    assert!(over.is_over(&late));
    store.end_session(first.id, late.wall).await.unwrap();
    let over = keep(&store, &moment(0, 60)).await;
    assert_eq!(over.ended, Some(late.wall));
    let others = store.session("bob", "ci").await.unwrap();
    assert_eq!(others, None, "a session of somebody else");
}

#[tokio::test]
async fn the_next_service_counts_anew_and_forgets_what_ended_long_ago() {
    let scratch = tempfile::tempdir().unwrap();
    let store = open(&scratch).await;
    let session = keep(&store, &moment(1000, 50)).await;
    drop(store);
    let store = open(&scratch).await;
    store.begin_sessions_anew(&moment(0, 500)).await.unwrap();
    let found = store.session("ann", &session.id.to_string()).await.unwrap();
    let found = found.unwrap();
    assert!(!found.is_over(&moment(0, 509)) && found.is_over(&moment(0, 510)));
    let end = UNIX_EPOCH + Duration::from_secs(7);
    store.end_session(session.id, end).await.unwrap();
    store.begin_sessions_anew(&moment(0, 600)).await.unwrap();
    assert_eq!(store.sessions().await.unwrap()[0].lease, found.lease);
    store.forget_sessions(end).await.unwrap();
    assert_eq!(store.sessions().await.unwrap().len(), 1);
    let later = end + Duration::from_secs(1);
    store.forget_sessions(later).await.unwrap();
    assert_eq!(store.sessions().await.unwrap(), []);
}

#[tokio::test]
async fn a_run_belongs_to_its_session_until_it_is_over() {
    let scratch = tempfile::tempdir().unwrap();
    let store = open(&scratch).await;
    let (image, session) = (image("small"), keep(&store, &moment(0, 0)).await);
    let mut vm = vm("one", image.id);
    store.insert_kernel(&kernel()).await.unwrap();
    store.insert_image(&image).await.unwrap();
    store.insert_vm(&vm).await.unwrap();
    let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
    let bound = async || store.vms_of_ended_sessions().await.unwrap();
    // one that does not run
    store.bind_run(vm.id, at(5), session.id).await.unwrap();
    (vm.state, vm.started) = (VmState::Running, Some(at(5)));
    vm = store.update_vm(&vm).await.unwrap();
    store.end_session(session.id, at(9)).await.unwrap();
    assert_eq!(bound().await, []);
    // another run than the one that was meant
    store.bind_run(vm.id, at(4), session.id).await.unwrap();
    assert_eq!(bound().await, []);
    store.bind_run(vm.id, at(5), session.id).await.unwrap();
    assert_eq!(bound().await, [(vm.id, session.id)]);
    // a session with a run is not forgotten
    store.forget_sessions(at(100)).await.unwrap();
    vm.state = VmState::Stopping;
    vm = store.update_vm(&vm).await.unwrap();
    assert_eq!(bound().await, [(vm.id, session.id)]);
    vm.state = VmState::Stopped;
    vm = store.update_vm(&vm).await.unwrap();
    // its next run is nobody's
    vm.state = VmState::Running;
    store.update_vm(&vm).await.unwrap();
    assert_eq!(bound().await, []);
    store.forget_sessions(at(100)).await.unwrap();
    assert_eq!(store.sessions().await.unwrap(), []);
}
