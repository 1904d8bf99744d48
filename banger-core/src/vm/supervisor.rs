//! Runs VMs on this host, each owned by a monitor process.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use camino::Utf8PathBuf;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::{
    ConnectError, Copied, CopyError, CreateVm, CreateVmError, CreatedVm, DeleteSnapshotError,
    DeleteVmError, ExecError, ExecId, ExecInfo, ExecRequest, ExecSession, GuestAddress,
    GuestConnection, GuestFile, KillVmError, Lifetime, LogStream, LogsError, LogsRequest,
    PauseVmError, PruneVms, PrunedVms, ReadTree, ReconcileVmsError, RestartVmError, RestoreVm,
    RestoreVmError, SetVm, SetVmError, SnapshotQueryError, SnapshotVmError, StartVmError,
    StartedVm, StopVmError, StreamPiece, TreeStream, VmChangesError, VmQueryError, VmStats,
    VmStatsError, VmSupervisor, WaitVmError, WriteTree, changes, connect_call, copy, create,
    delete, exec_call, files::VmFiles, kill, logs, page, pause, prune, reconcile, restart, set,
    snapshot, start, stats, stop, wait,
};
use crate::{
    clock::Clock,
    directories::Directories,
    domain::{Image, ImageId, Selector, Snapshot, SnapshotId, Vm, VmChange, VmId, VmPage},
    image::ImageQueryError,
    progress::ProgressSink,
    store::{Found, Store},
    vmm::VmmPrograms,
};

/// How long an agent may take to answer unless the caller knows better:
/// software emulation on a busy host takes many seconds.
pub const DEFAULT_BOOT_DEADLINE: Duration = Duration::from_mins(1);

/// What a supervisor works with.
#[derive(Clone, Debug)]
pub struct LocalVmOptions {
    /// The records.
    pub store: Store,
    /// Where everything lies.
    pub directories: Directories,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// The static program that becomes the guest's init.
    pub guest_program: Utf8PathBuf,
    /// The program that runs [`super::monitor::run`].
    pub monitor: MonitorProgram,
    /// The backends' programs.
    pub vmm: VmmPrograms,
}

/// A program that runs [`super::monitor::run`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MonitorProgram {
    /// Absolute path.
    pub program: Utf8PathBuf,
    /// Arguments before those of [`super::monitor::MonitorArguments`].
    pub arguments: Vec<String>,
}

/// Runs VMs on this host.
#[derive(Debug)]
pub struct LocalVmSupervisor {
    host: Arc<Host>,
}

/// What every operation works with.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) options: LocalVmOptions,
    /// How long an agent may take to answer.
    pub(super) boot_deadline: Duration,
    /// Owns what outlives a call: connections, sessions, log readers.
    pub(super) tasks: TaskTracker,
}

impl LocalVmSupervisor {
    /// A supervisor of the VMs in the given store and directories.
    #[must_use]
    pub fn new(options: LocalVmOptions) -> Self {
        Self::with_boot_deadline(options, DEFAULT_BOOT_DEADLINE)
    }

    /// The same, with another limit on how long an agent may take to answer.
    #[must_use]
    pub fn with_boot_deadline(options: LocalVmOptions, boot_deadline: Duration) -> Self {
        Self {
            host: Arc::new(Host {
                options,
                boot_deadline,
                tasks: TaskTracker::new(),
            }),
        }
    }

    /// Repairs what crashes left: VMs whose monitor is gone, VMs half made or
    /// half removed, directories without a record. Harmless at any time, and
    /// cheap when nothing is wrong. Cancelling leaves the rest for the next call.
    pub async fn reconcile(&self) -> Result<(), ReconcileVmsError> {
        reconcile::reconcile(&self.host).await
    }
}

impl Host {
    pub(super) const fn store(&self) -> &Store {
        &self.options.store
    }

    pub(super) fn files(&self, id: VmId) -> VmFiles {
        VmFiles::new(&self.options.directories, id)
    }

    /// The VM a selector means, as it is: a record that its monitor left
    /// behind is repaired first.
    pub(super) async fn find(&self, selector: &Selector) -> Result<Vm, VmQueryError> {
        let found = self.store().find_vm(selector).await;
        let vm = match found.map_err(VmQueryError::Store)? {
            Found::One(vm) => reconcile::observe(self, vm).await?,
            Found::Several => {
                return Err(VmQueryError::Ambiguous {
                    selector: selector.clone(),
                });
            }
            Found::None => None,
        };
        vm.ok_or_else(|| VmQueryError::NotFound {
            selector: selector.clone(),
        })
    }

    /// The VM's record as it is now.
    pub(super) async fn refreshed(&self, vm: &Vm) -> Result<Vm, VmQueryError> {
        let found = self.store().vm(vm.id).await.map_err(VmQueryError::Store)?;
        found.ok_or_else(|| VmQueryError::NotFound {
            selector: Selector::from(vm.name.as_str()),
        })
    }

    /// The image a selector means.
    pub(super) async fn find_image(&self, selector: &Selector) -> Result<Image, ImageQueryError> {
        let found = self.store().find_image(selector).await;
        match found.map_err(ImageQueryError::Store)? {
            Found::One(image) => Ok(image),
            Found::None => Err(ImageQueryError::NotFound {
                selector: selector.clone(),
            }),
            Found::Several => Err(ImageQueryError::Ambiguous {
                selector: selector.clone(),
            }),
        }
    }

    /// The image of a VM.
    pub(super) async fn image(&self, id: ImageId) -> Result<Image, ImageQueryError> {
        self.find_image(&Selector::from(id.to_string().as_str()))
            .await
    }
}

#[async_trait]
impl VmSupervisor for LocalVmSupervisor {
    async fn create(
        &self,
        request: CreateVm,
        lifetime: Lifetime,
        progress: &dyn ProgressSink,
    ) -> Result<CreatedVm, CreateVmError> {
        create::create(&self.host, request, lifetime, progress).await
    }

    async fn check(&self, request: &CreateVm) -> Result<(), CreateVmError> {
        create::check(&self.host, request).await
    }

    async fn start(
        &self,
        vm: &Selector,
        lifetime: Lifetime,
        progress: &dyn ProgressSink,
    ) -> Result<StartedVm, StartVmError> {
        start::start(&self.host, vm, lifetime, progress).await
    }

    async fn stop(&self, vm: &Selector, grace: Duration) -> Result<Vm, StopVmError> {
        stop::stop(&self.host, vm, grace).await
    }

    async fn restart(
        &self,
        vm: &Selector,
        grace: Duration,
        progress: &dyn ProgressSink,
    ) -> Result<Vm, RestartVmError> {
        restart::restart(&self.host, vm, grace, progress).await
    }

    async fn kill(&self, vm: &Selector) -> Result<Vm, KillVmError> {
        kill::kill(&self.host, vm).await
    }

    async fn pause(&self, vm: &Selector) -> Result<Vm, PauseVmError> {
        pause::pause(&self.host, vm, pause::Wanted::Paused).await
    }

    async fn resume(&self, vm: &Selector) -> Result<Vm, PauseVmError> {
        pause::pause(&self.host, vm, pause::Wanted::Running).await
    }

    async fn snapshot_as(
        &self,
        vm: &Selector,
        id: SnapshotId,
    ) -> Result<Snapshot, SnapshotVmError> {
        snapshot::take(&self.host, vm, id).await
    }

    async fn restore(
        &self,
        snapshot: &Selector,
        request: RestoreVm,
        lifetime: Lifetime,
        progress: &dyn ProgressSink,
    ) -> Result<StartedVm, RestoreVmError> {
        snapshot::restore(&self.host, snapshot, request, lifetime, progress).await
    }

    async fn list_snapshots(&self) -> Result<Vec<Snapshot>, SnapshotQueryError> {
        snapshot::list(&self.host).await
    }

    async fn show_snapshot(&self, snapshot: &Selector) -> Result<Snapshot, SnapshotQueryError> {
        snapshot::find(&self.host, snapshot).await
    }

    async fn delete_snapshot(&self, snapshot: &Selector) -> Result<Snapshot, DeleteSnapshotError> {
        snapshot::delete(&self.host, snapshot).await
    }

    async fn stats(&self, vm: &Selector) -> Result<VmStats, VmStatsError> {
        stats::stats(&self.host, vm).await
    }

    async fn wait(&self, vm: &Selector, limit: Option<Duration>) -> Result<Vm, WaitVmError> {
        wait::wait(&self.host, vm, limit).await
    }

    async fn set(&self, vm: &Selector, request: SetVm) -> Result<Vm, SetVmError> {
        set::set(&self.host, vm, request).await
    }

    async fn delete(&self, vm: &Selector, force: bool) -> Result<Vm, DeleteVmError> {
        delete::delete(&self.host, vm, force).await
    }

    async fn prune(&self, request: PruneVms) -> Result<PrunedVms, VmQueryError> {
        prune::prune(&self.host, request).await
    }

    async fn changes(
        &self,
        vm: Option<&Selector>,
        after: Option<u64>,
    ) -> Result<Vec<VmChange>, VmChangesError> {
        changes::changes(&self.host, vm, after).await
    }

    async fn list(&self) -> Result<Vec<Vm>, VmQueryError> {
        let records = self.host.store().vms().await.map_err(VmQueryError::Store)?;
        let mut vms = Vec::with_capacity(records.len());
        for record in records {
            vms.extend(reconcile::observe(&self.host, record).await?);
        }
        Ok(vms)
    }

    async fn page(&self, page: VmPage) -> Result<Vec<Vm>, VmQueryError> {
        page::page(&self.host, page).await
    }

    async fn show(&self, vm: &Selector) -> Result<Vm, VmQueryError> {
        self.host.find(vm).await
    }

    async fn logs(&self, vm: &Selector, request: LogsRequest) -> Result<LogStream, LogsError> {
        logs::logs(&self.host, vm, request).await
    }

    async fn exec(&self, vm: &Selector, request: ExecRequest) -> Result<ExecSession, ExecError> {
        exec_call::exec(&self.host, vm, request).await
    }

    async fn attach_exec(
        &self,
        vm: &Selector,
        exec: &ExecId,
        from_offset: u64,
    ) -> Result<ExecSession, ExecError> {
        exec_call::attach(&self.host, vm, exec, from_offset).await
    }

    async fn list_execs(&self, vm: &Selector) -> Result<Vec<ExecInfo>, ExecError> {
        exec_call::list(&self.host, vm).await
    }

    async fn delete_exec(&self, vm: &Selector, exec: &ExecId) -> Result<(), ExecError> {
        exec_call::delete(&self.host, vm, exec).await
    }

    async fn stat_path(
        &self,
        vm: &Selector,
        path: &[u8],
        follow_link: bool,
    ) -> Result<GuestFile, CopyError> {
        copy::stat_path(&self.host, vm, path, follow_link).await
    }

    async fn read_tree(&self, vm: &Selector, request: ReadTree) -> Result<TreeStream, CopyError> {
        copy::read_tree(&self.host, vm, request).await
    }

    async fn write_tree(
        &self,
        vm: &Selector,
        request: WriteTree,
        tar: mpsc::Receiver<StreamPiece>,
    ) -> Result<Copied, CopyError> {
        copy::write_tree(&self.host, vm, request, tar).await
    }

    async fn connect(
        &self,
        vm: &Selector,
        address: GuestAddress,
    ) -> Result<GuestConnection, ConnectError> {
        connect_call::connect(&self.host, vm, address).await
    }
}
