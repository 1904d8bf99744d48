//! Virtual machines of a server.

use std::time::Duration;

use async_trait::async_trait;
use banger_api::{
    choices,
    v1::{
        CreateSnapshotRequest, CreateVmRequest, DeleteSnapshotRequest, DeleteVmRequest,
        GetVmRequest, GetVmStatsRequest, LeaseExpiry, ListSnapshotsRequest, ListVmsRequest,
        PauseVmRequest, RestoreVmRequest, ResumeVmRequest, StartVmRequest, StopVmRequest,
        operation::Outcome,
    },
};
use banger_core::{
    domain::{Bytes, Selector, Snapshot, SnapshotId, Vm, VmChange, VmPage, VmState},
    progress::{NoProgress, ProgressSink},
    remote::RemoteError,
    vm::{
        ConnectError, Copied, CopyError, CreateVm, CreateVmError, CreatedVm, DeleteSnapshotError,
        DeleteVmError, ExecError, ExecId, ExecInfo, ExecRequest, ExecSession, GuestAddress,
        GuestConnection, GuestFile, KillVmError, Lifetime, LogStream, LogsError, LogsRequest,
        PauseVmError, PruneVms, PrunedVms, ReadTree, RestartVmError, RestoreVm, RestoreVmError,
        RunningStats, SetVm, SetVmError, SnapshotQueryError, SnapshotVmError, StartVmError,
        StartedVm, StopVmError, StreamPiece, TreeStream, VmChangesError, VmQueryError, VmStats,
        VmStatsError, VmSupervisor, WaitVmError, WriteTree,
    },
};

use super::{
    Server,
    errors::FromServer as _,
    images::PAGE,
    records,
    requests::{self, duration},
    work::OnDrop,
};
use crate::Failure;

mod change;
mod prune;

#[derive(Debug)]
pub(super) struct RemoteVms(pub(super) Server);

/// The machine with that id and no other.
fn name_of(vm: &Vm) -> String {
    format!("vms/{}", vm.id)
}

pub(super) fn vm(outcome: Option<Outcome>) -> Result<Vm, Failure> {
    match outcome {
        Some(Outcome::Vm(vm)) => records::vm(vm),
        _ => Err(Failure::confused("the VM", "it is missing")),
    }
}

fn snapshot(outcome: Option<Outcome>) -> Result<Snapshot, Failure> {
    match outcome {
        Some(Outcome::Snapshot(snapshot)) => records::snapshot(snapshot),
        _ => Err(Failure::confused("the snapshot", "it is missing")),
    }
}

/// Whether a machine's monitor is at work on it.
const fn is_up(state: VmState) -> bool {
    matches!(
        state,
        VmState::Starting | VmState::Running | VmState::Paused | VmState::Stopping
    )
}

/// Those that a part of an id means: its beginning or its end.
fn meant<T>(all: Vec<T>, selector: &Selector, id: impl Fn(&T) -> String) -> Vec<T> {
    let means = |one: &T| {
        let id = id(one);
        id.starts_with(selector.as_str()) || id.ends_with(selector.as_str())
    };
    if !selector.may_be_id_part() {
        return Vec::new();
    }
    all.into_iter().filter(means).collect()
}

impl Server {
    /// The machine that a selector means.
    pub(super) async fn vm(&self, selector: &Selector) -> Result<Vm, VmQueryError> {
        let request = GetVmRequest {
            name: format!("vms/{selector}"),
        };
        let found = self.read(|| {
            let (request, mut vms) = (request.clone(), self.client.vms());
            async move { vms.get_vm(request).await }
        });
        let found = found
            .await
            .and_then(|answer| records::vm(records::present(answer.vm, &request.name)?));
        let missing = match found.map_err(VmQueryError::from_server) {
            Err(missing @ VmQueryError::NotFound { .. }) => missing,
            found => return found,
        };
        let mut meant = meant(self.vms().await?, selector, |vm| vm.id.to_string());
        match (meant.pop(), meant.is_empty()) {
            (Some(vm), true) => Ok(vm),
            (None, _) => Err(missing),
            (Some(_), false) => Err(VmQueryError::Ambiguous {
                selector: selector.clone(),
            }),
        }
    }

    pub(super) async fn vms(&self) -> Result<Vec<Vm>, VmQueryError> {
        self.list_vms().await.map_err(VmQueryError::from_server)
    }

    async fn list_vms(&self) -> Result<Vec<Vm>, Failure> {
        let listed = self.pages(|page_token| async {
            let request = ListVmsRequest {
                page_size: PAGE,
                page_token,
                ..ListVmsRequest::default()
            };
            let page = self.read(|| {
                let (request, mut vms) = (request.clone(), self.client.vms());
                async move { vms.list_vms(request).await }
            });
            let page = page.await?;
            let vms = page.vms.into_iter().map(records::vm);
            Ok((vms.collect::<Result<_, _>>()?, page.next_page_token))
        });
        listed.await
    }

    async fn snapshots(&self) -> Result<Vec<Snapshot>, Failure> {
        let listed = self.pages(|page_token| async {
            let request = ListSnapshotsRequest {
                page_size: PAGE,
                page_token,
                order_by: "create_time".to_owned(),
                ..ListSnapshotsRequest::default()
            };
            let page = self.read(|| {
                let (request, mut snapshots) = (request.clone(), self.client.snapshots());
                async move { snapshots.list_snapshots(request).await }
            });
            let page = page.await?;
            let snapshots = page.snapshots.into_iter().map(records::snapshot);
            Ok((snapshots.collect::<Result<_, _>>()?, page.next_page_token))
        });
        listed.await
    }

    /// The snapshot that a selector means.
    async fn snapshot(&self, selector: &Selector) -> Result<Snapshot, SnapshotQueryError> {
        let all = self.snapshots().await;
        let all = all.map_err(SnapshotQueryError::from_server)?;
        let mut meant = meant(all, selector, |one| one.id.to_string());
        let selector = selector.clone();
        match (meant.pop(), meant.is_empty()) {
            (Some(one), true) => Ok(one),
            (None, _) => Err(SnapshotQueryError::NotFound { selector }),
            (Some(_), false) => Err(SnapshotQueryError::Ambiguous { selector }),
        }
    }

    /// What making such a machine takes.
    async fn create_request(&self, request: CreateVm) -> Result<CreateVmRequest, CreateVmError> {
        let spec = requests::spec(&request);
        let image = self.image(&request.image).await?;
        Ok(CreateVmRequest {
            image: format!("images/{}", image.id),
            vm_id: request
                .name
                .map(|name| name.to_string())
                .unwrap_or_default(),
            spec: Some(spec),
            ..CreateVmRequest::default()
        })
    }

    async fn boot(
        &self,
        selector: &Selector,
        session: String,
        progress: &dyn ProgressSink,
    ) -> Result<Vm, StartVmError> {
        let found = self.vm(selector).await?;
        if is_up(found.state) || found.state == VmState::Deleting {
            // the service is content with one that runs
            return Err(StartVmError::WrongState {
                name: found.name,
                state: found.state,
            });
        }
        let start = StartVmRequest {
            name: name_of(&found),
            session,
            ..StartVmRequest::default()
        };
        let started = self.carry_out(start, OnDrop::Leave, progress).await;
        started.and_then(vm).map_err(StartVmError::from_server)
    }

    async fn end(&self, selector: &Selector, grace: Duration) -> Result<Vm, StopVmError> {
        let found = self.vm(selector).await?;
        let stop = StopVmRequest {
            name: name_of(&found),
            grace: duration(grace),
            ..StopVmRequest::default()
        };
        let stopped = self.carry_out(stop, OnDrop::Leave, &NoProgress).await;
        stopped.and_then(vm).map_err(StopVmError::from_server)
    }

    async fn remove(&self, found: &Vm, force: bool) -> Result<Vm, DeleteVmError> {
        let delete = DeleteVmRequest {
            name: name_of(found),
            force,
            ..DeleteVmRequest::default()
        };
        let deleted = self.carry_out(delete, OnDrop::Leave, &NoProgress).await;
        deleted.and_then(vm).map_err(DeleteVmError::from_server)
    }

    async fn costs(&self, found: &Vm) -> Result<VmStats, Failure> {
        let name = name_of(found);
        let stats = self.read(|| {
            let (name, mut vms) = (name.clone(), self.client.vms());
            async move { vms.get_vm_stats(GetVmStatsRequest { name }).await }
        });
        let stats = stats.await?;
        let running = match stats.running {
            None => None,
            Some(running) => Some(RunningStats {
                cpu: records::elapsed(&name, running.cpu_time)?,
                memory: Bytes::new(running.memory_bytes),
                monitor_memory: Bytes::new(running.monitor_memory_bytes),
                read: Bytes::new(running.read_bytes),
                written: Bytes::new(running.written_bytes),
                calls: running.calls,
                machine: choices::metrics_of(running.machine.unwrap_or_default()),
            }),
        };
        Ok(VmStats {
            vm: records::vm(records::present(stats.vm, &name)?)?,
            disk: Bytes::new(stats.on_disk_bytes),
            running,
        })
    }
}

#[async_trait]
impl VmSupervisor for RemoteVms {
    async fn create(
        &self,
        request: CreateVm,
        lifetime: Lifetime,
        progress: &dyn ProgressSink,
    ) -> Result<CreatedVm, CreateVmError> {
        let mut create = self.0.create_request(request).await?;
        let begun = self.0.session_for(lifetime, LeaseExpiry::Delete).await;
        let (session, lifeline) = begun.map_err(CreateVmError::from_server)?;
        create.session = session;
        let created = self.0.carry_out(create, OnDrop::Cancel, progress).await;
        let vm = created.and_then(vm).map_err(CreateVmError::from_server)?;
        Ok(CreatedVm { vm, lifeline })
    }

    async fn check(&self, request: &CreateVm) -> Result<(), CreateVmError> {
        let create = CreateVmRequest {
            validate_only: true,
            ..self.0.create_request(request.clone()).await?
        };
        let checked = self.0.read(|| {
            let (create, mut vms) = (create.clone(), self.0.client.vms());
            async move { vms.create_vm(create).await }
        });
        checked.await.map(drop).map_err(CreateVmError::from_server)
    }

    async fn start(
        &self,
        vm: &Selector,
        lifetime: Lifetime,
        progress: &dyn ProgressSink,
    ) -> Result<StartedVm, StartVmError> {
        let begun = self.0.session_for(lifetime, LeaseExpiry::Stop).await;
        let (session, lifeline) = begun.map_err(StartVmError::from_server)?;
        let vm = self.0.boot(vm, session, progress).await?;
        Ok(StartedVm { vm, lifeline })
    }

    async fn stop(&self, vm: &Selector, grace: Duration) -> Result<Vm, StopVmError> {
        self.0.end(vm, grace).await
    }

    async fn restart(
        &self,
        vm: &Selector,
        grace: Duration,
        progress: &dyn ProgressSink,
    ) -> Result<Vm, RestartVmError> {
        let found = self.0.vm(vm).await?;
        let id = Selector::from(found.id.to_string().as_str());
        if is_up(found.state) {
            if found.spec.remove_on_stop {
                return Err(RestartVmError::RemovedOnStop { name: found.name });
            }
            self.0.end(&id, grace).await?;
        }
        Ok(self.0.boot(&id, String::new(), progress).await?)
    }

    async fn kill(&self, vm: &Selector) -> Result<Vm, KillVmError> {
        let found = self.0.vm(vm).await?;
        if !is_up(found.state) {
            return Err(KillVmError::NotRunning {
                name: found.name,
                state: found.state,
            });
        }
        let id = Selector::from(found.id.to_string().as_str());
        Ok(self.0.end(&id, Duration::ZERO).await?)
    }

    async fn pause(&self, selector: &Selector) -> Result<Vm, PauseVmError> {
        let pause = PauseVmRequest {
            name: name_of(&self.0.vm(selector).await?),
            ..PauseVmRequest::default()
        };
        let paused = self.0.carry_out(pause, OnDrop::Leave, &NoProgress).await;
        paused.and_then(vm).map_err(PauseVmError::from_server)
    }

    async fn resume(&self, selector: &Selector) -> Result<Vm, PauseVmError> {
        let resume = ResumeVmRequest {
            name: name_of(&self.0.vm(selector).await?),
            ..ResumeVmRequest::default()
        };
        let resumed = self.0.carry_out(resume, OnDrop::Leave, &NoProgress).await;
        resumed.and_then(vm).map_err(PauseVmError::from_server)
    }

    async fn snapshot(&self, vm: &Selector) -> Result<Snapshot, SnapshotVmError> {
        let create = CreateSnapshotRequest {
            vm: name_of(&self.0.vm(vm).await?),
            ..CreateSnapshotRequest::default()
        };
        let kept = self.0.carry_out(create, OnDrop::Cancel, &NoProgress).await;
        kept.and_then(snapshot)
            .map_err(SnapshotVmError::from_server)
    }

    async fn snapshot_as(
        &self,
        _vm: &Selector,
        _id: SnapshotId,
    ) -> Result<Snapshot, SnapshotVmError> {
        Err(RemoteError::unsupported("ids of snapshots that its clients choose").into())
    }

    async fn restore(
        &self,
        snapshot: &Selector,
        request: RestoreVm,
        lifetime: Lifetime,
        progress: &dyn ProgressSink,
    ) -> Result<StartedVm, RestoreVmError> {
        let snapshot = self.0.snapshot(snapshot).await?;
        let begun = self.0.session_for(lifetime, LeaseExpiry::Delete).await;
        let (session, lifeline) = begun.map_err(RestoreVmError::from_server)?;
        let restore = RestoreVmRequest {
            snapshot: format!("snapshots/{}", snapshot.id),
            vm_id: request
                .name
                .map(|name| name.to_string())
                .unwrap_or_default(),
            replace_ports: request.ports.is_some(),
            ports: requests::ports(&request.ports.unwrap_or_default()),
            remove_on_stop: request.remove_on_stop,
            lease: request.lease.map(requests::lease),
            labels: request.labels,
            session,
            ..RestoreVmRequest::default()
        };
        let restored = self.0.carry_out(restore, OnDrop::Leave, progress).await;
        let vm = restored.and_then(vm).map_err(RestoreVmError::from_server)?;
        Ok(StartedVm { vm, lifeline })
    }

    async fn list_snapshots(&self) -> Result<Vec<Snapshot>, SnapshotQueryError> {
        let all = self.0.snapshots().await;
        all.map_err(SnapshotQueryError::from_server)
    }

    async fn show_snapshot(&self, snapshot: &Selector) -> Result<Snapshot, SnapshotQueryError> {
        self.0.snapshot(snapshot).await
    }

    async fn delete_snapshot(&self, selector: &Selector) -> Result<Snapshot, DeleteSnapshotError> {
        let found = self.0.snapshot(selector).await?;
        let delete = DeleteSnapshotRequest {
            name: format!("snapshots/{}", found.id),
            ..DeleteSnapshotRequest::default()
        };
        let deleted = self.0.carry_out(delete, OnDrop::Leave, &NoProgress).await;
        deleted
            .and_then(snapshot)
            .map_err(DeleteSnapshotError::from_server)
    }

    async fn stats(&self, vm: &Selector) -> Result<VmStats, VmStatsError> {
        let found = self.0.vm(vm).await?;
        let stats = self.0.costs(&found).await;
        stats.map_err(VmStatsError::from_server)
    }

    async fn wait(&self, vm: &Selector, limit: Option<Duration>) -> Result<Vm, WaitVmError> {
        let found = self.0.vm(vm).await?;
        self.0.wait(found, limit).await
    }

    async fn set(&self, vm: &Selector, request: SetVm) -> Result<Vm, SetVmError> {
        self.0.set(vm, request).await
    }

    async fn delete(&self, vm: &Selector, force: bool) -> Result<Vm, DeleteVmError> {
        let found = self.0.vm(vm).await?;
        self.0.remove(&found, force).await
    }

    async fn prune(&self, request: PruneVms) -> Result<PrunedVms, VmQueryError> {
        self.0.prune(request).await
    }

    async fn changes(
        &self,
        vm: Option<&Selector>,
        after: Option<u64>,
    ) -> Result<Vec<VmChange>, VmChangesError> {
        self.0.changes(vm, after).await
    }

    async fn list(&self) -> Result<Vec<Vm>, VmQueryError> {
        self.0.vms().await
    }

    async fn page(&self, _page: VmPage) -> Result<Vec<Vm>, VmQueryError> {
        Err(RemoteError::unsupported("pages that begin after a VM").into())
    }

    async fn show(&self, vm: &Selector) -> Result<Vm, VmQueryError> {
        self.0.vm(vm).await
    }

    async fn logs(&self, vm: &Selector, request: LogsRequest) -> Result<LogStream, LogsError> {
        let found = self.0.vm(vm).await?;
        let opened = self.0.logs(&found, request).await;
        opened.map_err(LogsError::from_server)
    }

    async fn exec(&self, vm: &Selector, request: ExecRequest) -> Result<ExecSession, ExecError> {
        let found = self.0.vm(vm).await?;
        self.0.exec(&found, request).await
    }

    async fn attach_exec(
        &self,
        vm: &Selector,
        exec: &ExecId,
        from_offset: u64,
    ) -> Result<ExecSession, ExecError> {
        let found = self.0.vm(vm).await?;
        self.0.attach(&found, exec, from_offset).await
    }

    async fn list_execs(&self, vm: &Selector) -> Result<Vec<ExecInfo>, ExecError> {
        let found = self.0.vm(vm).await?;
        let listed = self.0.execs(&found).await;
        listed.map_err(ExecError::from_server)
    }

    async fn delete_exec(&self, vm: &Selector, exec: &ExecId) -> Result<(), ExecError> {
        let found = self.0.vm(vm).await?;
        let name = format!("{}/execs/{exec}", name_of(&found));
        let deleted = self.0.client.delete_exec(&name).await;
        deleted.map_err(|failure| failure.of_exec(&found.name, exec))
    }

    async fn stat_path(
        &self,
        vm: &Selector,
        path: &[u8],
        follow_link: bool,
    ) -> Result<GuestFile, CopyError> {
        let found = self.0.vm(vm).await?;
        let found = self.0.stat(name_of(&found), path, follow_link).await;
        found.map_err(CopyError::from_server)
    }

    async fn read_tree(&self, vm: &Selector, request: ReadTree) -> Result<TreeStream, CopyError> {
        let found = self.0.vm(vm).await?;
        Ok(self.0.read_tree(name_of(&found), request))
    }

    async fn write_tree(
        &self,
        vm: &Selector,
        request: WriteTree,
        tar: tokio::sync::mpsc::Receiver<StreamPiece>,
    ) -> Result<Copied, CopyError> {
        let found = self.0.vm(vm).await?;
        self.0.write_tree(name_of(&found), request, tar).await
    }

    async fn connect(
        &self,
        vm: &Selector,
        address: GuestAddress,
    ) -> Result<GuestConnection, ConnectError> {
        let found = self.0.vm(vm).await?;
        self.0.connect(&found, address).await
    }
}
