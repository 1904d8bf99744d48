//! Ending a VM and booting it again.
//!
//! Nobody removes the VM in between, unless by force: whoever restarts it keeps
//! it by a lock on a file in its directory, because the VM's own lock is its
//! monitor's until the stop and again from the start on. A crash in between
//! leaves a stopped VM; so does a start that fails.

use std::{sync::Arc, time::Duration};

use super::{
    Lifetime, StartVmError, StopVmError, VmQueryError,
    lock::{Taken, keep},
    start::start,
    stop::{is_up, stop},
    supervisor::Host,
};
use crate::{
    domain::{Selector, Vm, VmName},
    error::ErrorKind,
    host_fs::{FileLock, PathError},
    progress::ProgressSink,
    remote::RemoteError,
    step::reached,
};

/// A VM could not be restarted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestartVmError {
    /// It could not be looked up.
    #[error(transparent)]
    Query(#[from] VmQueryError),
    /// It would be gone before it could be started again.
    #[error("VM {name} is deleted as soon as it stops: it cannot be restarted")]
    RemovedOnStop {
        /// The VM.
        name: VmName,
    },
    /// Another call restarts it.
    #[error("VM {name} is being restarted by another call")]
    Busy {
        /// The VM.
        name: VmName,
    },
    /// It could not be kept from those who remove what has ended.
    #[error("failed to keep VM {name} while it is restarted")]
    Io {
        /// The VM.
        name: VmName,
        /// The cause.
        source: PathError,
    },
    /// It could not be stopped.
    #[error(transparent)]
    Stop(#[from] StopVmError),
    /// It was stopped and could not be started again.
    #[error(transparent)]
    Start(#[from] StartVmError),
    /// What a server said.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl RestartVmError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Remote(error) => error.kind(),
            Self::Query(error) => error.kind(),
            Self::RemovedOnStop { .. } | Self::Busy { .. } => ErrorKind::Conflict,
            Self::Io { source, .. } => source.kind(),
            Self::Stop(error) => error.kind(),
            Self::Start(error) => error.kind(),
        }
    }
}

/// Ends a VM that runs, then boots it.
pub(super) async fn restart(
    host: &Arc<Host>,
    selector: &Selector,
    grace: Duration,
    progress: &dyn ProgressSink,
) -> Result<Vm, RestartVmError> {
    let vm = host.find(selector).await?;
    // whatever its name may mean by then
    let id = Selector::from(vm.id.to_string().as_str());
    if is_up(vm.state) && vm.spec.remove_on_stop {
        return Err(RestartVmError::RemovedOnStop { name: vm.name });
    }
    let _kept = kept(host, &vm).await?;
    if is_up(vm.state) {
        stop(host, &id, grace).await?;
    }
    let started = start(host, &id, Lifetime::Detached, progress).await?;
    Ok(started.vm)
}

/// None when the VM is gone, which the start will tell.
async fn kept(host: &Host, vm: &Vm) -> Result<Option<FileLock>, RestartVmError> {
    let taken = keep(&host.files(vm.id).restart_lock()).await;
    let taken = taken.map_err(|source| RestartVmError::Io {
        name: vm.name.clone(),
        source,
    })?;
    match taken {
        Taken::Ours(lock) => {
            reached("kept a VM for its restart");
            Ok(Some(lock))
        }
        Taken::NoDirectory => Ok(None),
        Taken::Held => Err(RestartVmError::Busy {
            name: vm.name.clone(),
        }),
    }
}
