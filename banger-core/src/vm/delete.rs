//! Removing a VM and all its files.
//!
//! Without force, a VM stays that somebody is restarting, though it does not
//! run.

use std::time::Duration;

use super::{
    DeleteVmError, ReconcileVmsError, VmQueryError,
    lock::{Taken, is_held, take},
    reconcile::remove,
    stop::{is_up, stop},
    supervisor::Host,
};
use crate::{
    domain::{Selector, Vm},
    host_fs::LockError,
    step::reached,
};

/// Removes a VM; a running one only by `force`, which ends it at once: nothing
/// it could still write outlives it.
pub(super) async fn delete(
    host: &Host,
    selector: &Selector,
    force: bool,
) -> Result<Vm, DeleteVmError> {
    let mut vm = host.find(selector).await?;
    if is_up(vm.state) {
        refuse_unless(force, &vm)?;
        let id = Selector::from(vm.id.to_string().as_str());
        vm = stop(host, &id, Duration::ZERO).await?;
    }
    // held to the end; a VM without a directory has no lock
    let taken = take(&host.files(vm.id).directory).await;
    let _lock = match taken.map_err(|source| io_error(&vm, source))? {
        Taken::Held => return Err(DeleteVmError::Busy { name: vm.name }),
        taken => taken,
    };
    reached("locked a VM");
    let vm = match host.refreshed(&vm).await {
        Ok(vm) => vm,
        // it was removed because it stopped, or by another call
        Err(VmQueryError::NotFound { .. }) => return Ok(vm),
        Err(error) => return Err(error.into()),
    };
    if is_up(vm.state) {
        // its monitor vanished a moment ago
        refuse_unless(force, &vm)?;
    }
    let restarts = is_held(&host.files(vm.id).restart_lock());
    if !force && restarts.map_err(|source| io_error(&vm, source))? {
        return Err(DeleteVmError::Busy { name: vm.name });
    }
    let removed = remove(host, vm.clone()).await;
    removed.map_err(|error| match error {
        ReconcileVmsError::Io(source) | ReconcileVmsError::Lock(LockError::Io(source)) => {
            io_error(&vm, source)
        }
        ReconcileVmsError::Store(error) => DeleteVmError::Store(error),
        ReconcileVmsError::Lock(LockError::TimedOut { .. }) => DeleteVmError::Busy {
            name: vm.name.clone(),
        },
    })?;
    Ok(vm)
}

fn refuse_unless(force: bool, vm: &Vm) -> Result<(), DeleteVmError> {
    if force {
        return Ok(());
    }
    Err(DeleteVmError::Running {
        name: vm.name.clone(),
        state: vm.state,
    })
}

fn io_error(vm: &Vm, source: crate::host_fs::PathError) -> DeleteVmError {
    DeleteVmError::Io {
        name: vm.name.clone(),
        source,
    }
}
