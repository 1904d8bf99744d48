//! Repairs what crashes left.
//!
//! Invariants: nothing is touched whose lock somebody holds; the record is
//! read again under the lock; directories of VMs are made and swept under one
//! lock, so that none is swept between its making and its locking.
//! Entry points: [`reconcile`] (everything), [`observe`] (one record).

use std::collections::HashSet;

use camino::{Utf8Path, Utf8PathBuf};

use super::{
    ReconcileVmsError, VmQueryError,
    files::VmFiles,
    in_words,
    lease::is_to_be_removed,
    lifecycle::{VmEvent, step},
    lock::{Taken, is_held, try_take},
    snapshot,
    supervisor::Host,
};
use crate::{
    domain::{Vm, VmExit, VmId, VmState},
    host_fs::{FileLock, PathError, children, lock_deadline, remove_tree_if_present},
    store::StoreError,
};

/// Length of [`VmId::short`], the name of a runtime directory.
const SHORT_ID_LENGTH: usize = 12;

/// Repairs everything that crashes left.
pub(super) async fn reconcile(host: &Host) -> Result<(), ReconcileVmsError> {
    // listed before the records are read: a VM made meanwhile is not missed
    let runtimes = children(&host.options.directories.runtime)?;
    let directories = children(&host.options.directories.vms())?;
    let vms = host.store().vms().await?;
    let known: HashSet<VmId> = vms.iter().map(|vm| vm.id).collect();
    for vm in vms {
        if leftover(&vm, host)? {
            repair(host, vm.id).await?;
        }
    }
    sweep_directories(host, &directories, &known).await?;
    snapshot::sweep(host).await?;
    sweep_runtimes(host, runtimes).await
}

/// A record as it is: repaired when its monitor left it behind, none when the
/// repair removed it. A host file that fails leaves the record as it was.
pub(super) async fn observe(host: &Host, vm: Vm) -> Result<Option<Vm>, VmQueryError> {
    let repaired = match leftover(&vm, host) {
        Ok(false) => return Ok(Some(vm)),
        Ok(true) => repair(host, vm.id).await,
        Err(error) => Err(error.into()),
    };
    match repaired {
        Ok(()) => {}
        Err(ReconcileVmsError::Store(error)) => return Err(VmQueryError::Store(error)),
        Err(error) => {
            let error = in_words(&error);
            tracing::warn!(error, vm = %vm.name, "a VM could not be repaired");
        }
    }
    host.store().vm(vm.id).await.map_err(VmQueryError::Store)
}

/// Whether nobody works on a VM that its record says is being worked on.
fn leftover(vm: &Vm, host: &Host) -> Result<bool, PathError> {
    Ok(remedy(vm, host)?.is_some() && !is_held(&host.files(vm.id).directory)?)
}

/// What a VM needs whose lock is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remedy {
    /// Its making, its removal, its only run or its lease is over, or its
    /// creator went without starting it: remove what is there.
    Remove,
    /// Its monitor vanished.
    MarkLost,
}

fn remedy(vm: &Vm, host: &Host) -> Result<Option<Remedy>, PathError> {
    let deserted = vm.state == VmState::Created && is_deserted(&host.files(vm.id))?;
    Ok(
        if deserted || is_to_be_removed(vm, host.options.clock.as_ref()) {
            Some(Remedy::Remove)
        } else {
            remedy_of_state(vm)
        },
    )
}

/// Whether a creator kept the VM for itself and is gone.
fn is_deserted(files: &VmFiles) -> Result<bool, PathError> {
    let lock = files.creator_lock();
    Ok(lock.exists() && !is_held(&lock)?)
}

const fn remedy_of_state(vm: &Vm) -> Option<Remedy> {
    match vm.state {
        VmState::Creating | VmState::Deleting => Some(Remedy::Remove),
        VmState::Starting | VmState::Running | VmState::Paused | VmState::Stopping => {
            Some(Remedy::MarkLost)
        }
        VmState::Stopped | VmState::Failed if vm.spec.remove_on_stop => Some(Remedy::Remove),
        VmState::Stopped | VmState::Failed | VmState::Created => None,
    }
}

/// Repairs one VM, unless somebody works on it.
pub(super) async fn repair(host: &Host, id: VmId) -> Result<(), ReconcileVmsError> {
    let files = host.files(id);
    // held to the end; a VM without a directory has no lock and no monitor
    let _lock = match try_take(&files.directory)? {
        Taken::Held => return Ok(()),
        Taken::Ours(lock) => Some(lock),
        Taken::NoDirectory => None,
    };
    let Some(mut vm) = host.store().vm(id).await? else {
        return Ok(());
    };
    if remedy(&vm, host)? == Some(Remedy::MarkLost) {
        remove_tree_if_present(&files.runtime)?;
        vm = host.store().update_vm(&lost(vm, host)).await?;
    }
    if remedy(&vm, host)? == Some(Remedy::Remove) {
        remove(host, vm).await?;
    }
    Ok(())
}

fn lost(mut vm: Vm, host: &Host) -> Vm {
    let exit = VmExit::MonitorLost;
    // every state with this remedy allows the event
    vm.state = step(vm.state, &VmEvent::Ended(exit.clone())).unwrap_or(VmState::Failed);
    "its monitor vanished".clone_into(&mut vm.reason);
    vm.exit = Some(exit);
    vm.stopped = Some(host.options.clock.now());
    vm
}

/// Removes a VM whose lock the caller holds: its files, then its record.
pub(super) async fn remove(host: &Host, mut vm: Vm) -> Result<(), ReconcileVmsError> {
    if let Ok(state) = step(vm.state, &VmEvent::DeleteRequested)
        && state != vm.state
    {
        vm.state = state;
        "its files are being removed".clone_into(&mut vm.reason);
        host.store().update_vm(&vm).await?;
    }
    host.files(vm.id).remove()?;
    host.store().delete_vm(vm.id).await?;
    Ok(())
}

/// The lock under which directories of VMs are made and swept.
pub(super) async fn lock_directories(host: &Host) -> Result<FileLock, crate::host_fs::LockError> {
    let path = host.options.directories.locks().join("vms");
    FileLock::acquire(&path, lock_deadline()).await
}

/// Removes directories of VMs that have no record.
async fn sweep_directories(
    host: &Host,
    directories: &[Utf8PathBuf],
    known: &HashSet<VmId>,
) -> Result<(), ReconcileVmsError> {
    let named = directories.iter().filter_map(|path| id_of(path));
    let orphans: Vec<VmId> = named.filter(|id| !known.contains(id)).collect();
    if orphans.is_empty() {
        return Ok(());
    }
    let _making = lock_directories(host).await?;
    for id in orphans {
        sweep_directory(host, id).await?;
    }
    Ok(())
}

async fn sweep_directory(host: &Host, id: VmId) -> Result<(), ReconcileVmsError> {
    let path = host.files(id).directory;
    let Taken::Ours(_lock) = try_take(&path)? else {
        return Ok(());
    };
    if host.store().vm(id).await?.is_none() {
        tracing::warn!(%path, "a VM's directory without a record is removed");
        remove_tree_if_present(&path)?;
    }
    Ok(())
}

/// Removes runtime directories of VMs that do not run.
async fn sweep_runtimes(host: &Host, runtimes: Vec<Utf8PathBuf>) -> Result<(), ReconcileVmsError> {
    let runtimes: Vec<_> = runtimes.into_iter().filter(is_runtime).collect();
    if runtimes.is_empty() {
        return Ok(());
    }
    let vms = host.store().vms().await?;
    for path in runtimes {
        let owner = vms.iter().find(|vm| host.files(vm.id).runtime == path);
        let directory = owner.map(|vm| host.files(vm.id).directory);
        let _lock = match directory.as_deref().map(try_take).transpose()? {
            Some(Taken::Held) => continue,
            taken => taken,
        };
        remove_tree_if_present(&path)?;
    }
    Ok(())
}

/// Whether a path has the name of a VM's runtime directory; other programs'
/// sockets may lie beside them.
fn is_runtime(path: &Utf8PathBuf) -> bool {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    path.is_dir()
        && path
            .file_name()
            .is_some_and(|name| name.len() == SHORT_ID_LENGTH && name.bytes().all(is_digit))
}

fn id_of(path: &Utf8Path) -> Option<VmId> {
    path.file_name()?.parse().ok()
}

impl From<StoreError> for ReconcileVmsError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
