//! Machines with real records, directories and disks, whose guests do nothing.

use std::time::Duration;

use async_trait::async_trait;
use banger_core::{
    domain::{Selector, Snapshot, SnapshotId, Vm, VmChange, VmExit, VmPage},
    progress::ProgressSink,
    vm::{
        ConnectError, Copied, CopyError, CreateVm, CreateVmError, CreatedVm, DeleteSnapshotError,
        DeleteVmError, ExecControl, ExecError, ExecEvent, ExecExit, ExecId, ExecInfo, ExecRequest,
        ExecSession, GuestAddress, GuestConnection, GuestFile, KillVmError, Lifetime,
        LocalVmSupervisor, LogStream, LogsError, LogsRequest, PauseVmError, PruneVms, PrunedVms,
        ReadTree, RestartVmError, RestoreVm, RestoreVmError, SetVm, SetVmError, SnapshotQueryError,
        SnapshotVmError, StartVmError, StartedVm, StopVmError, StreamPiece, TreeStream,
        VmChangesError, VmQueryError, VmStats, VmStatsError, VmSupervisor, WaitVmError, WriteTree,
    },
};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

/// Everything but the running of a machine is real.
#[derive(Debug)]
pub(crate) struct Machines {
    pub(crate) real: LocalVmSupervisor,
    pub(crate) commands: TaskTracker,
}

#[async_trait]
impl VmSupervisor for Machines {
    async fn create(
        &self,
        request: CreateVm,
        lifetime: Lifetime,
        progress: &dyn ProgressSink,
    ) -> Result<CreatedVm, CreateVmError> {
        self.real.create(request, lifetime, progress).await
    }

    async fn check(&self, request: &CreateVm) -> Result<(), CreateVmError> {
        self.real.check(request).await
    }

    async fn start(
        &self,
        vm: &Selector,
        _: Lifetime,
        _: &dyn ProgressSink,
    ) -> Result<StartedVm, StartVmError> {
        Ok(StartedVm {
            vm: self.real.show(vm).await.unwrap(),
            lifeline: None,
        })
    }

    /// The guest powers off, and the machine goes as it was to go then.
    async fn stop(&self, vm: &Selector, _: Duration) -> Result<Vm, StopVmError> {
        let vm = self.real.delete(vm, true).await.unwrap();
        assert!(vm.spec.remove_on_stop);
        Ok(Vm {
            exit: Some(VmExit::PoweredOff),
            ..vm
        })
    }

    async fn delete(&self, vm: &Selector, force: bool) -> Result<Vm, DeleteVmError> {
        self.real.delete(vm, force).await
    }

    async fn restart(
        &self,
        vm: &Selector,
        grace: Duration,
        progress: &dyn ProgressSink,
    ) -> Result<Vm, RestartVmError> {
        self.real.restart(vm, grace, progress).await
    }

    async fn kill(&self, vm: &Selector) -> Result<Vm, KillVmError> {
        self.real.kill(vm).await
    }

    async fn pause(&self, vm: &Selector) -> Result<Vm, PauseVmError> {
        self.real.pause(vm).await
    }

    async fn resume(&self, vm: &Selector) -> Result<Vm, PauseVmError> {
        self.real.resume(vm).await
    }

    async fn snapshot_as(
        &self,
        vm: &Selector,
        id: SnapshotId,
    ) -> Result<Snapshot, SnapshotVmError> {
        self.real.snapshot_as(vm, id).await
    }

    async fn restore(
        &self,
        snapshot: &Selector,
        request: RestoreVm,
        lifetime: Lifetime,
        progress: &dyn ProgressSink,
    ) -> Result<StartedVm, RestoreVmError> {
        self.real
            .restore(snapshot, request, lifetime, progress)
            .await
    }

    async fn list_snapshots(&self) -> Result<Vec<Snapshot>, SnapshotQueryError> {
        self.real.list_snapshots().await
    }

    async fn show_snapshot(&self, snapshot: &Selector) -> Result<Snapshot, SnapshotQueryError> {
        self.real.show_snapshot(snapshot).await
    }

    async fn delete_snapshot(&self, snapshot: &Selector) -> Result<Snapshot, DeleteSnapshotError> {
        self.real.delete_snapshot(snapshot).await
    }

    async fn stats(&self, vm: &Selector) -> Result<VmStats, VmStatsError> {
        self.real.stats(vm).await
    }

    async fn wait(&self, vm: &Selector, limit: Option<Duration>) -> Result<Vm, WaitVmError> {
        self.real.wait(vm, limit).await
    }

    async fn set(&self, vm: &Selector, request: SetVm) -> Result<Vm, SetVmError> {
        self.real.set(vm, request).await
    }

    async fn prune(&self, request: PruneVms) -> Result<PrunedVms, VmQueryError> {
        self.real.prune(request).await
    }

    async fn changes(
        &self,
        vm: Option<&Selector>,
        after: Option<u64>,
    ) -> Result<Vec<VmChange>, VmChangesError> {
        self.real.changes(vm, after).await
    }

    async fn list(&self) -> Result<Vec<Vm>, VmQueryError> {
        self.real.list().await
    }

    async fn page(&self, page: VmPage) -> Result<Vec<Vm>, VmQueryError> {
        self.real.page(page).await
    }

    async fn show(&self, vm: &Selector) -> Result<Vm, VmQueryError> {
        self.real.show(vm).await
    }

    async fn logs(&self, vm: &Selector, request: LogsRequest) -> Result<LogStream, LogsError> {
        self.real.logs(vm, request).await
    }

    /// A command that reads its input and is content.
    async fn exec(&self, vm: &Selector, _: ExecRequest) -> Result<ExecSession, ExecError> {
        self.real.show(vm).await.unwrap();
        let (control, mut controls) = mpsc::channel(4);
        let (sender, events) = mpsc::channel(2);
        let command = async move {
            while let Some(told) = controls.recv().await {
                if told == ExecControl::CloseStdin {
                    break;
                }
            }
            drop(sender.send(Ok(ExecEvent::Exit(ExecExit::Code(0)))).await);
        };
        drop(self.commands.spawn(command));
        Ok(ExecSession::of_channels(1, control, events))
    }

    async fn attach_exec(
        &self,
        vm: &Selector,
        exec: &ExecId,
        from_offset: u64,
    ) -> Result<ExecSession, ExecError> {
        self.real.attach_exec(vm, exec, from_offset).await
    }

    async fn list_execs(&self, vm: &Selector) -> Result<Vec<ExecInfo>, ExecError> {
        self.real.list_execs(vm).await
    }

    async fn delete_exec(&self, vm: &Selector, exec: &ExecId) -> Result<(), ExecError> {
        self.real.delete_exec(vm, exec).await
    }

    async fn stat_path(
        &self,
        vm: &Selector,
        path: &[u8],
        link: bool,
    ) -> Result<GuestFile, CopyError> {
        self.real.stat_path(vm, path, link).await
    }

    async fn read_tree(&self, vm: &Selector, request: ReadTree) -> Result<TreeStream, CopyError> {
        self.real.read_tree(vm, request).await
    }

    async fn write_tree(
        &self,
        vm: &Selector,
        request: WriteTree,
        tar: mpsc::Receiver<StreamPiece>,
    ) -> Result<Copied, CopyError> {
        self.real.write_tree(vm, request, tar).await
    }

    async fn connect(
        &self,
        vm: &Selector,
        to: GuestAddress,
    ) -> Result<GuestConnection, ConnectError> {
        self.real.connect(vm, to).await
    }
}
