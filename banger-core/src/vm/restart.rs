//! Ending a VM and booting it again.
//!
//! A crash in between leaves a stopped VM; so does a start that fails.

use std::{sync::Arc, time::Duration};

use super::{
    Lifetime, StartVmError, StopVmError, VmQueryError, start::start, stop::is_up, stop::stop,
    supervisor::Host,
};
use crate::{
    domain::{Selector, Vm, VmName},
    error::ErrorKind,
    progress::ProgressSink,
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
    /// It could not be stopped.
    #[error(transparent)]
    Stop(#[from] StopVmError),
    /// It was stopped and could not be started again.
    #[error(transparent)]
    Start(#[from] StartVmError),
}

impl RestartVmError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Query(error) => error.kind(),
            Self::RemovedOnStop { .. } => ErrorKind::Conflict,
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
    if is_up(vm.state) {
        if vm.spec.remove_on_stop {
            return Err(RestartVmError::RemovedOnStop { name: vm.name });
        }
        stop(host, &id, grace).await?;
    }
    let started = start(host, &id, Lifetime::Detached, progress).await?;
    Ok(started.vm)
}
