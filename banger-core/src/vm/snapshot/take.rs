//! Keeping a VM.

use std::{sync::Arc, time::Duration};

use banger_proto::monitor::v1::{SnapshotRequest, monitor_service_client::MonitorServiceClient};
use camino::Utf8Path;
use tokio::time::{Instant, sleep, timeout};
use tonic::{Code, Status};

use super::{SnapshotVmError, lock};
use crate::{
    domain::{Selector, Snapshot, SnapshotId, Vm, VmState, VolumeSource},
    host_fs::{LockError, PathError, Staging, directory_usage, remove_tree_if_present},
    store::StoreError,
    task::{off_thread, settle},
    vm::{
        VmQueryError,
        http2::origin,
        in_words,
        kept::{KEEPING, Kept},
        launch::LaunchError,
        lock::is_held,
        monitor_call::reach,
        supervisor::Host,
    },
};

/// How long a monitor may take: memory and disks are written.
const DEADLINE: Duration = Duration::from_mins(30);

/// How long a monitor may take to notice that nobody waits for it any more.
const LEAVING: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(100);

/// Keeps a VM that runs or is paused, under that id.
pub(in crate::vm) async fn take(
    host: &Arc<Host>,
    selector: &Selector,
    id: SnapshotId,
) -> Result<Snapshot, SnapshotVmError> {
    let vm = host.find(selector).await?;
    check(&vm)?;
    let failed = Failure { vm: &vm };
    let staging = stage(host, id, failed).await?;
    ask(host, &vm, &staging).await?;
    let directory = staging.path().to_owned();
    let looked = off_thread(move || {
        Ok::<_, LaunchError>((Kept::load(&directory)?, directory_usage(&directory)?))
    });
    let (kept, size_on_disk) = looked.await.map_err(|error| failed.launch(error))?;
    let mut kept_vm = host.refreshed(&vm).await?;
    // what it ran with, whatever is wanted of its next boot
    kept_vm.spec.vcpus = kept.launch.machine.vcpus;
    kept_vm.spec.memory = kept.launch.machine.memory;
    let snapshot = Snapshot {
        id,
        vm: kept_vm,
        backend: kept.launch.backend.choice.kind,
        size_on_disk,
        created: host.options.clock.now(),
    };
    // runs to its end even when nobody waits any more
    let publishing = publish(host.clone(), staging, snapshot);
    settle(host.tasks.spawn(publishing)).await
}

/// A directory for the snapshot, in place of what a try before has left.
async fn stage(
    host: &Host,
    id: SnapshotId,
    failed: Failure<'_>,
) -> Result<Staging, SnapshotVmError> {
    let directories = &host.options.directories;
    let target = directories.snapshot(id);
    let left = Staging::path_for(&target);
    let deadline = Instant::now() + LEAVING;
    loop {
        {
            let lock = lock(directories).await;
            let _lock = lock.map_err(|error| failed.lock(error))?;
            if left.exists() {
                let is_used = |path: &Utf8Path| is_held(&path.join(KEEPING));
                let removed = Staging::remove_unused(&directories.snapshots(), is_used);
                removed.map_err(|error| failed.io(error))?;
            }
            // when the time is up, its error says that there is one
            if !left.exists() || deadline <= Instant::now() {
                return Staging::create(&target).map_err(|error| failed.io(error));
            }
        }
        sleep(PAUSE).await;
    }
}

/// Refuses what has no state, or a state that is not in it alone.
fn check(vm: &Vm) -> Result<(), SnapshotVmError> {
    if !matches!(vm.state, VmState::Running | VmState::Paused) {
        return Err(not_running(vm));
    }
    let mut volumes = vm.spec.volumes.iter();
    let shared = volumes.find_map(|volume| match &volume.source {
        VolumeSource::Named(name) if !volume.read_only => Some(name),
        _ => None,
    });
    match shared {
        None => Ok(()),
        Some(volume) => Err(SnapshotVmError::SharedVolume {
            name: vm.name.clone(),
            volume: volume.to_string(),
        }),
    }
}

async fn ask(host: &Host, vm: &Vm, staging: &Staging) -> Result<(), SnapshotVmError> {
    let failed = |problem| SnapshotVmError::Monitor {
        name: vm.name.clone(),
        problem,
    };
    let client = reach(&host.files(vm.id).socket(), &host.tasks).await;
    let client = client.map_err(|error| failed(in_words(&error)))?;
    let mut monitor = MonitorServiceClient::with_origin(client, origin());
    let request = SnapshotRequest {
        directory: staging.path().to_string(),
    };
    match timeout(DEADLINE, monitor.snapshot(request)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(status)) => Err(refused(host, vm, &status).await?),
        Err(_) => Err(failed(format!("it did not finish within {DEADLINE:?}"))),
    }
}

async fn refused(host: &Host, vm: &Vm, status: &Status) -> Result<SnapshotVmError, VmQueryError> {
    let (name, problem) = (vm.name.clone(), status.message().to_owned());
    Ok(match status.code() {
        // it ended meanwhile
        Code::FailedPrecondition => not_running(&host.refreshed(vm).await?),
        Code::ResourceExhausted => SnapshotVmError::NoRoom { name, problem },
        _ => SnapshotVmError::Monitor { name, problem },
    })
}

/// Gives the snapshot its place, then its record.
async fn publish(
    host: Arc<Host>,
    staging: Staging,
    snapshot: Snapshot,
) -> Result<Snapshot, SnapshotVmError> {
    let failed = Failure { vm: &snapshot.vm };
    let _lock = lock(&host.options.directories)
        .await
        .map_err(|error| failed.lock(error))?;
    let target = staging.target().to_owned();
    staging.publish().map_err(|error| failed.io(error))?;
    if let Err(error) = host.store().insert_snapshot(&snapshot).await {
        if let Err(error) = remove_tree_if_present(&target) {
            tracing::warn!(%error, "a snapshot without a record is left for the next reconcile");
        }
        return Err(failed.store(error));
    }
    Ok(snapshot)
}

fn not_running(vm: &Vm) -> SnapshotVmError {
    SnapshotVmError::NotRunning {
        name: vm.name.clone(),
        state: vm.state,
    }
}

/// Names the VM in errors.
#[derive(Clone, Copy)]
struct Failure<'a> {
    vm: &'a Vm,
}

impl Failure<'_> {
    fn io(self, source: PathError) -> SnapshotVmError {
        SnapshotVmError::Io {
            name: self.vm.name.clone(),
            source,
        }
    }

    fn lock(self, source: LockError) -> SnapshotVmError {
        SnapshotVmError::Lock {
            name: self.vm.name.clone(),
            source,
        }
    }

    fn store(self, source: StoreError) -> SnapshotVmError {
        SnapshotVmError::Store {
            name: self.vm.name.clone(),
            source,
        }
    }

    fn launch(self, error: LaunchError) -> SnapshotVmError {
        match error {
            LaunchError::Io(error) => self.io(error),
            malformed @ LaunchError::Malformed { .. } => SnapshotVmError::Monitor {
                name: self.vm.name.clone(),
                problem: in_words(&malformed),
            },
        }
    }
}
