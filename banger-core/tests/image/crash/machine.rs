//! Machines with real records, directories and disks, whose guests do nothing.

use std::time::Duration;

use async_trait::async_trait;
use banger_core::{
    domain::{Selector, Vm, VmChange, VmExit},
    progress::ProgressSink,
    vm::{
        CreateVm, CreateVmError, CreatedVm, DeleteVmError, ExecControl, ExecError, ExecEvent,
        ExecExit, ExecRequest, ExecSession, KillVmError, Lifetime, LocalVmSupervisor, LogStream,
        LogsError, LogsRequest, PruneVms, PrunedVms, RestartVmError, SetVm, SetVmError,
        StartVmError, StartedVm, StopVmError, VmChangesError, VmQueryError, VmSupervisor,
        WaitVmError,
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
        Ok(ExecSession {
            pid: 1,
            control,
            events,
        })
    }
}
