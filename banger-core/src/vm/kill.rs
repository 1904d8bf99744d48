//! Ending a VM at once.

use std::time::Duration;

use super::{
    StopVmError, VmQueryError,
    stop::{is_up, stop},
    supervisor::Host,
};
use crate::{
    domain::{Selector, Vm, VmName, VmState},
    error::ErrorKind,
    remote::RemoteError,
};

/// A VM could not be killed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KillVmError {
    /// It could not be looked up.
    #[error(transparent)]
    Query(#[from] VmQueryError),
    /// There is nothing to kill.
    #[error("VM {name} is {}: it does not run", state.as_str())]
    NotRunning {
        /// The VM.
        name: VmName,
        /// The state.
        state: VmState,
    },
    /// It could not be ended.
    #[error(transparent)]
    Stop(#[from] StopVmError),
    /// What a server said.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl KillVmError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Remote(error) => error.kind(),
            Self::Query(error) => error.kind(),
            Self::NotRunning { .. } => ErrorKind::Conflict,
            Self::Stop(error) => error.kind(),
        }
    }
}

/// Ends a VM by the last rung of the ladder alone.
pub(super) async fn kill(host: &Host, selector: &Selector) -> Result<Vm, KillVmError> {
    let vm = host.find(selector).await?;
    if !is_up(vm.state) {
        return Err(KillVmError::NotRunning {
            name: vm.name,
            state: vm.state,
        });
    }
    let id = Selector::from(vm.id.to_string().as_str());
    Ok(stop(host, &id, Duration::ZERO).await?)
}
