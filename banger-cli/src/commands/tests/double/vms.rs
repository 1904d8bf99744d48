//! The double as a supervisor of VMs.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use banger_core::{
    domain::{
        Bytes, Selector, Snapshot, SnapshotId, Vm, VmChange, VmChangeKind, VmExit, VmPage, VmState,
    },
    progress::ProgressSink,
    vm::{
        BootFailure, ConnectError, Copied, CopyError, CreateVm, CreateVmError, CreatedVm,
        DeleteSnapshotError, DeleteVmError, ExecError, ExecExit, ExecId, ExecInfo, ExecRequest,
        ExecSession, GuestAddress, GuestConnection, GuestFile, KillVmError, Lifetime, LogChunk,
        LogStream, LogsError, LogsRequest, PauseVmError, PruneVms, PrunedVms, ReadTree,
        RestartVmError, RestoreVm, RestoreVmError, RunningStats, SetVm, SetVmError,
        SnapshotQueryError, SnapshotVmError, StartVmError, StartedVm, StopVmError, StreamPiece,
        TreeStream, VmChangesError, VmQueryError, VmStats, VmStatsError, VmSupervisor, WaitVmError,
        WriteTree,
    },
    vmm::VmmMetrics,
};
use tokio::sync::mpsc;

use super::{Boot, Script, World, files, lock, vm};

#[async_trait]
impl VmSupervisor for World {
    async fn create(
        &self,
        request: CreateVm,
        lifetime: Lifetime,
        _progress: &dyn ProgressSink,
    ) -> Result<CreatedVm, CreateVmError> {
        self.call(format!("create {lifetime:?}"));
        let text = request.image.as_str();
        let known = lock(&self.images)
            .iter()
            .find(|image| image.id.to_string() == text || image.name.as_str() == text)
            .map(|image| image.id);
        let made = vm(known.expect("a VM of an image that is not here"), request);
        lock(&self.vms).push(made.clone());
        Ok(CreatedVm {
            vm: made,
            lifeline: None,
        })
    }

    async fn check(&self, _request: &CreateVm) -> Result<(), CreateVmError> {
        panic!("commands make VMs and do not ask whether they could")
    }

    async fn start(
        &self,
        selector: &Selector,
        lifetime: Lifetime,
        _progress: &dyn ProgressSink,
    ) -> Result<StartedVm, StartVmError> {
        self.call(format!("start {lifetime:?}"));
        let vm = self.known_vm(selector)?;
        assert_ne!(vm.state, VmState::Running, "started twice");
        let boot = std::mem::take(&mut *lock(&self.boot));
        match boot {
            Boot::Works => {}
            Boot::Fails => {
                self.set_state(vm.id, VmState::Failed);
                let (stage, cause) = ("kernel".to_owned(), "no answer".to_owned());
                let console_tail = "panic".to_owned();
                return Err(StartVmError::BootFailed {
                    name: vm.name,
                    failure: BootFailure::KernelPanic,
                    stage,
                    cause,
                    console_tail,
                });
            }
            Boot::Hangs(begun) => {
                begun.try_send(()).unwrap();
                std::future::pending::<()>().await;
            }
        }
        let vm = self.set_state(vm.id, VmState::Running);
        Ok(StartedVm { vm, lifeline: None })
    }

    async fn stop(&self, selector: &Selector, grace: Duration) -> Result<Vm, StopVmError> {
        self.call(format!("stop {grace:?}"));
        let vm = self.known_vm(selector)?;
        if *lock(&self.stop_fails) {
            return Err(StopVmError::TimedOut {
                name: vm.name,
                waited: grace,
            });
        }
        let stopped = self.set_state(vm.id, VmState::Stopped);
        if stopped.spec.remove_on_stop {
            self.remove(stopped.id);
        }
        Ok(stopped)
    }

    async fn restart(
        &self,
        selector: &Selector,
        grace: Duration,
        _progress: &dyn ProgressSink,
    ) -> Result<Vm, RestartVmError> {
        self.call(format!("restart {grace:?}"));
        let vm = self.known_vm(selector)?;
        Ok(self.set_state(vm.id, VmState::Running))
    }

    async fn kill(&self, selector: &Selector) -> Result<Vm, KillVmError> {
        self.call("kill");
        let vm = self.known_vm(selector)?;
        match vm.state {
            VmState::Running => Ok(self.set_state(vm.id, VmState::Stopped)),
            state => Err(KillVmError::NotRunning {
                name: vm.name,
                state,
            }),
        }
    }

    async fn pause(&self, selector: &Selector) -> Result<Vm, PauseVmError> {
        self.call("pause");
        turn(self, selector, VmState::Paused)
    }

    async fn resume(&self, selector: &Selector) -> Result<Vm, PauseVmError> {
        self.call("resume");
        turn(self, selector, VmState::Running)
    }

    async fn snapshot_as(
        &self,
        selector: &Selector,
        _id: SnapshotId,
    ) -> Result<Snapshot, SnapshotVmError> {
        self.keep(selector)
    }

    async fn restore(
        &self,
        snapshot: &Selector,
        request: RestoreVm,
        _lifetime: Lifetime,
        _progress: &dyn ProgressSink,
    ) -> Result<StartedVm, RestoreVmError> {
        let vm = self.go_on(snapshot, request)?;
        Ok(StartedVm { vm, lifeline: None })
    }

    async fn list_snapshots(&self) -> Result<Vec<Snapshot>, SnapshotQueryError> {
        Ok(lock(&self.snapshots).clone())
    }

    async fn show_snapshot(&self, snapshot: &Selector) -> Result<Snapshot, SnapshotQueryError> {
        self.known_snapshot(snapshot)
    }

    async fn delete_snapshot(&self, snapshot: &Selector) -> Result<Snapshot, DeleteSnapshotError> {
        self.forget(snapshot)
    }

    async fn stats(&self, selector: &Selector) -> Result<VmStats, VmStatsError> {
        let vm = self.known_vm(selector)?;
        let running = matches!(vm.state, VmState::Running | VmState::Paused);
        Ok(VmStats {
            vm,
            disk: Bytes::from_mib(3),
            running: running.then_some(RunningStats {
                cpu: Duration::from_millis(1250),
                memory: Bytes::from_mib(100),
                monitor_memory: Bytes::from_mib(6),
                read: Bytes::new(10),
                written: Bytes::new(20),
                calls: 2,
                machine: VmmMetrics {
                    network_received_bytes: Some(2048),
                    exits: Some(7),
                    ..VmmMetrics::default()
                },
            }),
        })
    }

    async fn wait(&self, selector: &Selector, limit: Option<Duration>) -> Result<Vm, WaitVmError> {
        self.call(format!("wait {limit:?}"));
        let vm = self.known_vm(selector)?;
        match (vm.state, limit) {
            (VmState::Stopped | VmState::Failed, _) => Ok(vm),
            (_, Some(waited)) => Err(WaitVmError::TimedOut {
                name: vm.name,
                waited,
            }),
            // nothing ends a VM in these tests
            (_, None) => std::future::pending().await,
        }
    }

    async fn set(&self, selector: &Selector, request: SetVm) -> Result<Vm, SetVmError> {
        self.call(format!("{request:?}"));
        let vm = self.known_vm(selector)?;
        match (vm.state, request.disk_size) {
            (VmState::Running, Some(_)) => Err(SetVmError::Running {
                name: vm.name,
                state: vm.state,
            }),
            _ => Ok(vm),
        }
    }

    async fn delete(&self, selector: &Selector, force: bool) -> Result<Vm, DeleteVmError> {
        self.call(format!(
            "delete {}",
            if force { "by force" } else { "stopped" }
        ));
        let vm = self.known_vm(selector)?;
        if vm.state == VmState::Running && !force {
            return Err(DeleteVmError::Running {
                name: vm.name,
                state: vm.state,
            });
        }
        self.remove(vm.id);
        Ok(vm)
    }

    async fn prune(&self, request: PruneVms) -> Result<PrunedVms, VmQueryError> {
        self.call(format!("{request:?}"));
        let vms = lock(&self.vms).clone();
        let (removed, kept): (Vec<_>, Vec<_>) =
            vms.into_iter().partition(|vm| vm.state == VmState::Stopped);
        let busy = kept.into_iter().filter(|vm| vm.state == VmState::Failed);
        let failed = busy.map(|vm| (vm.name.clone(), DeleteVmError::Busy { name: vm.name }));
        Ok(PrunedVms {
            removed,
            freed: Bytes::from_mib(5),
            failed: failed.collect(),
        })
    }

    async fn changes(
        &self,
        vm: Option<&Selector>,
        after: Option<u64>,
    ) -> Result<Vec<VmChange>, VmChangesError> {
        let vm = vm.map(|selector| self.known_vm(selector)).transpose()?;
        let after = after.unwrap_or(0);
        if after == 1 {
            return Err(VmChangesError::Forgotten { after, oldest: 3 });
        }
        let vms = lock(&self.vms).clone();
        let numbered = vms.into_iter().zip(3..);
        let wanted = numbered.filter(|(one, number)| {
            after < *number && vm.as_ref().is_none_or(|vm| vm.id == one.id)
        });
        // page by page
        let page = wanted.take(1).map(|(vm, sequence)| VmChange {
            sequence,
            at: SystemTime::UNIX_EPOCH,
            vm: vm.id,
            name: vm.name,
            kind: VmChangeKind::Changed,
            state: vm.state,
            reason: "so\x1b it is".to_owned(),
            exit: Some(VmExit::Forced),
            generation: 7,
            owner: None,
        });
        Ok(page.collect())
    }

    async fn list(&self) -> Result<Vec<Vm>, VmQueryError> {
        Ok(lock(&self.vms).clone())
    }

    async fn page(&self, _page: VmPage) -> Result<Vec<Vm>, VmQueryError> {
        panic!("commands list VMs whole")
    }

    async fn show(&self, selector: &Selector) -> Result<Vm, VmQueryError> {
        self.known_vm(selector)
    }

    async fn logs(
        &self,
        selector: &Selector,
        request: LogsRequest,
    ) -> Result<LogStream, LogsError> {
        self.call(format!("logs {:?} {}", request.tail, request.follow));
        self.known_vm(selector)?;
        let (sender, chunks) = mpsc::channel(2);
        for chunk in [&b"boot\r\n"[..], b"\xff"] {
            let chunk = LogChunk {
                bytes: chunk.into(),
                end: None,
                gap: false,
            };
            sender.try_send(Ok(chunk)).unwrap();
        }
        Ok(LogStream { chunks })
    }

    async fn exec(
        &self,
        selector: &Selector,
        request: ExecRequest,
    ) -> Result<ExecSession, ExecError> {
        self.call(format!("exec {}", request.argv.join(" ")));
        let vm = self.known_vm(selector)?;
        assert_eq!(
            vm.state,
            VmState::Running,
            "a command in a VM that does not run"
        );
        lock(&self.requests).push(request);
        self.session()
    }

    async fn attach_exec(
        &self,
        selector: &Selector,
        exec: &ExecId,
        from_offset: u64,
    ) -> Result<ExecSession, ExecError> {
        self.call(format!("attach {exec} {from_offset}"));
        self.known_vm(selector)?;
        self.session()
    }

    async fn list_execs(&self, selector: &Selector) -> Result<Vec<ExecInfo>, ExecError> {
        self.call("list execs");
        self.known_vm(selector)?;
        Ok(vec![ExecInfo {
            id: "job".parse().unwrap(),
            argv: vec!["make".to_owned()],
            pid: 7,
            terminal: false,
            attached: false,
            exit: Some(ExecExit::TimedOut),
            first_offset: 0,
            end_offset: 9,
            age: Duration::from_secs(3),
        }])
    }

    async fn delete_exec(&self, _: &Selector, exec: &ExecId) -> Result<(), ExecError> {
        panic!("no command ends session {exec}")
    }

    async fn stat_path(
        &self,
        selector: &Selector,
        path: &[u8],
        follow_link: bool,
    ) -> Result<GuestFile, CopyError> {
        let path = String::from_utf8_lossy(path).into_owned();
        self.call(format!("stat {path} {follow_link}"));
        self.known_vm(selector)?;
        lock(&self.guest).stat(&path)
    }

    async fn read_tree(
        &self,
        selector: &Selector,
        request: ReadTree,
    ) -> Result<TreeStream, CopyError> {
        self.call(files::read_line(&request));
        self.known_vm(selector)?;
        Ok(files::small_tree(request.archived_as.as_deref()))
    }

    async fn write_tree(
        &self,
        selector: &Selector,
        request: WriteTree,
        tar: mpsc::Receiver<StreamPiece>,
    ) -> Result<Copied, CopyError> {
        self.call(files::write_line(&request));
        self.known_vm(selector)?;
        let content = files::whole(tar).await?;
        let copied = Copied {
            entries: 1,
            content_bytes: content.len() as u64,
        };
        lock(&self.guest).written = content;
        Ok(copied)
    }

    async fn connect(
        &self,
        selector: &Selector,
        address: GuestAddress,
    ) -> Result<GuestConnection, ConnectError> {
        self.call(format!("connect {address}"));
        let vm = self.known_vm(selector)?;
        files::connection(vm.name, address)
    }
}

impl World {
    /// A session that follows the next script.
    fn session(&self) -> Result<ExecSession, ExecError> {
        let (sender, events) = mpsc::channel(16);
        let script = lock(&self.scripts).pop_front();
        let control = match script.expect("a command without a script") {
            Script::Refused(error) => return Err(error),
            Script::Endless(told) => {
                lock(&self.sessions).push((sender, None));
                told
            }
            Script::Events(script) => {
                for event in script {
                    sender.try_send(Ok(event)).unwrap();
                }
                let (control, controlled) = mpsc::channel(16);
                lock(&self.sessions).push((sender, Some(controlled)));
                control
            }
        };
        Ok(ExecSession::of_channels(1, control, events))
    }
}

/// A VM that runs or is paused is so or so then.
fn turn(world: &World, selector: &Selector, wanted: VmState) -> Result<Vm, PauseVmError> {
    let vm = world.known_vm(selector)?;
    match vm.state {
        VmState::Running | VmState::Paused => Ok(world.set_state(vm.id, wanted)),
        state => Err(PauseVmError::NotRunning {
            name: vm.name,
            state,
        }),
    }
}
