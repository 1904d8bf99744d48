//! The double's snapshots.

use std::time::SystemTime;

use banger_core::{
    domain::{BackendKind, Bytes, Selector, Snapshot, SnapshotId, Vm, VmState},
    vm::{DeleteSnapshotError, RestoreVm, RestoreVmError, SnapshotQueryError, SnapshotVmError},
};

use super::{World, lock};

impl World {
    pub(super) fn keep(&self, selector: &Selector) -> Result<Snapshot, SnapshotVmError> {
        self.call("snapshot");
        let vm = self.known_vm(selector)?;
        if !matches!(vm.state, VmState::Running | VmState::Paused) {
            return Err(SnapshotVmError::NotRunning {
                name: vm.name,
                state: vm.state,
            });
        }
        let snapshot = Snapshot {
            id: SnapshotId::generate(),
            vm,
            backend: BackendKind::Qemu,
            size_on_disk: Bytes::from_mib(12),
            created: SystemTime::UNIX_EPOCH,
        };
        lock(&self.snapshots).push(snapshot.clone());
        Ok(snapshot)
    }

    pub(super) fn go_on(
        &self,
        selector: &Selector,
        request: RestoreVm,
    ) -> Result<Vm, RestoreVmError> {
        self.call(format!("restore {:?}", request.ports));
        let snapshot = self.known_snapshot(selector)?;
        let mut vm = snapshot.vm;
        vm.id = banger_core::domain::VmId::generate();
        vm.name = request.name.expect("a name");
        vm.state = VmState::Running;
        lock(&self.vms).push(vm.clone());
        Ok(vm)
    }

    pub(super) fn known_snapshot(
        &self,
        selector: &Selector,
    ) -> Result<Snapshot, SnapshotQueryError> {
        let snapshots = lock(&self.snapshots);
        let known = snapshots
            .iter()
            .find(|snapshot| snapshot.id.to_string().starts_with(selector.as_str()));
        known.cloned().ok_or_else(|| SnapshotQueryError::NotFound {
            selector: selector.clone(),
        })
    }

    pub(super) fn forget(&self, selector: &Selector) -> Result<Snapshot, DeleteSnapshotError> {
        let snapshot = self.known_snapshot(selector)?;
        lock(&self.snapshots).retain(|one| one.id != snapshot.id);
        Ok(snapshot)
    }
}
