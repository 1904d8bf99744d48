//! Waiting for the end of a VM.
//!
//! The record is looked at again and again: that needs no monitor, notices
//! one that vanished, and outlives every restart of whoever else is involved.
//! A VM that was removed meanwhile is told of by its last change.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{VmQueryError, lifecycle::after_exit, supervisor::Host};
use crate::{
    domain::{Selector, Vm, VmName, VmState},
    error::ErrorKind,
    remote::RemoteError,
    store::StoreError,
};

/// Between two looks at the record.
const PAUSE: Duration = Duration::from_millis(100);

/// Waiting for a VM's end failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WaitVmError {
    /// It could not be looked up, or was removed without having run.
    #[error(transparent)]
    Query(#[from] VmQueryError),
    /// It did not end in time.
    #[error("VM {name} did not end within {waited:?}")]
    TimedOut {
        /// The VM.
        name: VmName,
        /// How long was waited.
        waited: Duration,
    },
    /// The store failed.
    #[error("failed to look up how the VM ended")]
    Store(#[source] StoreError),
    /// What a server said.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl WaitVmError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Remote(error) => error.kind(),
            Self::Query(error) => error.kind(),
            Self::TimedOut { .. } => ErrorKind::Timeout,
            Self::Store(error) => error.kind(),
        }
    }
}

/// Waits until a VM is stopped or failed and answers its record; one that was
/// removed has the state in which it ended.
pub(super) async fn wait(
    host: &Host,
    selector: &Selector,
    limit: Option<Duration>,
) -> Result<Vm, WaitVmError> {
    let vm = host.find(selector).await?;
    let name = vm.name.clone();
    let Some(limit) = limit else {
        return until_ended(host, vm).await;
    };
    let ended = timeout(limit, until_ended(host, vm)).await;
    ended.unwrap_or(Err(WaitVmError::TimedOut {
        name,
        waited: limit,
    }))
}

async fn until_ended(host: &Host, mut vm: Vm) -> Result<Vm, WaitVmError> {
    let id = Selector::from(vm.id.to_string().as_str());
    while !has_ended(vm.state) {
        sleep(PAUSE).await;
        vm = match host.find(&id).await {
            Ok(vm) => vm,
            Err(error @ VmQueryError::NotFound { .. }) => return removed(host, vm, error).await,
            Err(error) => return Err(error.into()),
        };
    }
    Ok(vm)
}

const fn has_ended(state: VmState) -> bool {
    matches!(state, VmState::Stopped | VmState::Failed)
}

async fn removed(host: &Host, vm: Vm, gone: VmQueryError) -> Result<Vm, WaitVmError> {
    let last = last_record(host, vm).await.map_err(WaitVmError::Store)?;
    last.ok_or_else(|| gone.into())
}

/// The last record of a VM that is gone; none when it did not end by itself.
pub(super) async fn last_record(host: &Host, mut vm: Vm) -> Result<Option<Vm>, StoreError> {
    let last = host.store().last_vm_change(vm.id).await?;
    let Some((exit, last)) = last.and_then(|last| Some((last.exit.clone()?, last))) else {
        return Ok(None);
    };
    vm.state = after_exit(&exit);
    vm.reason = last.reason;
    vm.exit = Some(exit);
    vm.stopped = Some(last.at);
    vm.generation = last.generation;
    Ok(Some(vm))
}
