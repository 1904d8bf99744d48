//! Virtual machines: their life, their monitor, and running commands in them.
//!
//! Purpose: start a VM that outlives its starter, run commands in it with
//! exact output and exit status, end it and leave nothing. Invariants: whoever
//! holds the lock on a VM's directory is its one writer; "alive" means "the
//! lock is held by a monitor"; state changes go through the pure
//! [`lifecycle`] function; a resource is in a known place before it is made.
//! Entry points: [`VmSupervisor`], [`LocalVmSupervisor`], [`monitor`].

mod boot_failure;
mod boot_times;
mod changes;
mod connect;
mod connect_call;
mod console_times;
pub mod copy;
mod create;
mod delete;
mod error;
mod exec;
mod exec_agent;
mod exec_call;
pub mod exec_caller;
mod exec_command;
mod exec_id;
mod exec_relay;
mod exec_wire;
mod files;
mod guest_files;
mod http2;
mod kept;
mod kill;
mod launch;
mod lease;
pub mod lifecycle;
mod lock;
mod log_position;
mod logs;
pub mod monitor;
mod monitor_call;
mod page;
mod pause;
mod preparation;
mod prune;
mod purpose;
mod readiness;
mod reconcile;
mod restart;
mod set;
mod snapshot;
mod start;
mod stats;
mod stop;
mod stop_signal;
mod supervisor;
mod volumes;
mod wait;

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes as Buffer;

use crate::{
    domain::{
        BackendKind, BootMode, Bytes, Lease, NetworkMode, PublishedPort, RootDiskMode, Selector,
        Snapshot, SnapshotId, Vm, VmChange, VmName, VmPage, VmProcess, VmSpec,
    },
    progress::ProgressSink,
};

pub(crate) use crate::error::in_words;
pub use boot_failure::BootFailure;
pub use boot_times::BootTimes;
pub use changes::VmChangesError;
pub use connect::{ConnectError, ConnectFailure, GuestAddress, GuestConnection};
pub use copy::{CopyError, FileFailure};
pub use error::{
    CreateVmError, DeleteVmError, ExecError, LogsError, ReconcileVmsError, StartVmError,
    StopVmError, VmQueryError,
};
pub use exec::{
    Accepted, ExecControl, ExecEvent, ExecEvents, ExecExit, ExecInfo, ExecRequest, ExecSession,
    Leaving, OnFull, Settled, SpawnFailure, TerminalSize, WhenDetached,
};
pub use exec_id::{ExecId, ExecIdParseError};
pub(crate) use files::check_socket_paths;
pub use guest_files::{
    Copied, GuestFile, GuestFileKind, GuestPath, ReadTree, StreamPiece, TreeEvent, TreeRead,
    TreeStream, WriteTree,
};
pub use kill::KillVmError;
pub use log_position::{LogPosition, LogPositionParseError};
pub use pause::PauseVmError;
pub use preparation::PrepareBootError;
pub use prune::{LabelFilter, PruneVms, PrunedVms};
pub use restart::RestartVmError;
pub use set::{SetVm, SetVmError};
pub use snapshot::{
    DeleteSnapshotError, RestoreVm, RestoreVmError, SnapshotQueryError, SnapshotVmError,
};
pub use stats::{RunningStats, VmStats, VmStatsError};
pub use supervisor::{DEFAULT_BOOT_DEADLINE, LocalVmOptions, LocalVmSupervisor, MonitorProgram};
pub use volumes::{RequestedSource, VmVolumeError, VolumeRequest};
pub use wait::WaitVmError;

/// What to make a VM of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateVm {
    /// The image.
    pub image: Selector,
    /// Its name; made up when none is given.
    pub name: Option<VmName>,
    /// Number of virtual CPUs, 1 to 64.
    pub vcpus: u32,
    /// Guest memory, at least 64 MiB.
    pub memory: Bytes,
    /// What it runs first. Without an agent it needs a copy of the image's disk.
    pub boot_mode: BootMode,
    /// How its root disk is made.
    pub root_disk: RootDiskMode,
    /// Size of the disk that takes the writes, at least 16 MiB; for a copy of
    /// the image's disk at least as much as that has.
    pub disk_size: Bytes,
    /// The wanted backend; none means the best one there is.
    pub backend: Option<BackendKind>,
    /// What network it has.
    pub network: NetworkMode,
    /// Ports of the host that lead to it while it runs, at most 256; none
    /// without a network.
    pub ports: Vec<PublishedPort>,
    /// Delete the VM as soon as it stops.
    pub remove_on_stop: bool,
    /// How long it may live, from now on.
    pub lease: Option<Lease>,
    /// The user's own labels.
    pub labels: BTreeMap<String, String>,
    /// Disks beside the root, in the order of their mounting.
    pub volumes: Vec<VolumeRequest>,
    /// What it runs by itself, as its boot mode has it.
    pub process: VmProcess,
}

impl CreateVm {
    /// A VM of `image` as [`VmSpec::default`] has it, with a name that is made up.
    #[must_use]
    pub fn new(image: Selector) -> Self {
        let spec = VmSpec::default();
        Self {
            image,
            name: None,
            vcpus: spec.vcpus,
            memory: spec.memory,
            boot_mode: spec.boot_mode,
            root_disk: spec.root_disk,
            disk_size: spec.disk_size,
            backend: spec.backend,
            network: spec.network,
            ports: spec.ports,
            remove_on_stop: spec.remove_on_stop,
            lease: None,
            labels: spec.labels,
            volumes: Vec::new(),
            process: spec.process,
        }
    }
}

/// How long a VM shall live that was made or started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// Made: until it is deleted. Started: until it is stopped or powers
    /// itself off.
    Detached,
    /// At most as long as the lifeline that comes with it. When that is
    /// dropped, or its process dies, a VM that was never started is removed by
    /// the next call that meets it, and a started one is stopped.
    BoundToCaller,
}

/// A VM that was made.
#[derive(Debug)]
pub struct CreatedVm {
    /// Its record.
    pub vm: Vm,
    /// Keeps a VM with [`Lifetime::BoundToCaller`] until it is started.
    pub lifeline: Option<Lifeline>,
}

/// A VM that was started.
#[derive(Debug)]
pub struct StartedVm {
    /// Its record, running.
    pub vm: Vm,
    /// Keeps a VM with [`Lifetime::BoundToCaller`] alive.
    pub lifeline: Option<Lifeline>,
}

/// While this lives, so may the VM it belongs to.
#[derive(Debug)]
pub struct Lifeline {
    /// Before the start: the lock on the VM's file of its creator. After it:
    /// the write end of a pipe whose closing the monitor sees.
    pub(crate) _descriptor: std::os::fd::OwnedFd,
}

impl Lifeline {
    /// One whose end is noticed by whoever has the other end of this pipe.
    #[must_use]
    pub const fn of_pipe(write_end: std::os::fd::OwnedFd) -> Self {
        Self {
            _descriptor: write_end,
        }
    }
}

/// Which part of a console log is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogsRequest {
    /// Only the last lines; all that are kept when none is given.
    pub tail: Option<usize>,
    /// Only what was written at this time or later, to a twentieth of a second.
    pub since: Option<SystemTime>,
    /// Go on until the VM stops.
    pub follow: bool,
    /// Only what follows this place, whatever the other two say.
    pub after: Option<LogPosition>,
}

/// A piece of a console log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogChunk {
    /// Its bytes.
    pub bytes: Buffer,
    /// The place after it; none where that is not known.
    pub end: Option<LogPosition>,
    /// Whether something before it is missing: it is not kept any more, or it is not
    /// known what was there.
    pub gap: bool,
}

/// Chunks of a console log. Bounded; dropping it ends the reading.
#[derive(Debug)]
pub struct LogStream {
    /// The chunks, in order.
    pub chunks: tokio::sync::mpsc::Receiver<Result<LogChunk, LogsError>>,
}

/// Runs virtual machines.
///
/// Every method may be called concurrently, by any number of processes on the
/// same state directory. Killing a caller at any moment loses nothing: a VM is
/// owned by its monitor process, and the next call repairs what a crash left.
#[async_trait]
pub trait VmSupervisor: Send + Sync + std::fmt::Debug {
    /// Makes a VM: its record and its disks. Cancelling removes what was made.
    async fn create(
        &self,
        request: CreateVm,
        lifetime: Lifetime,
        progress: &dyn ProgressSink,
    ) -> Result<CreatedVm, CreateVmError>;

    /// Fails as making such a VM would, as far as that can be told before
    /// anything is made.
    async fn check(&self, request: &CreateVm) -> Result<(), CreateVmError>;

    /// Boots a VM and answers when its agent does, or when its VMM runs if it
    /// has no agent. Starting a running VM is an
    /// error. Cancelling leaves the boot to the VM's monitor.
    async fn start(
        &self,
        vm: &Selector,
        lifetime: Lifetime,
        progress: &dyn ProgressSink,
    ) -> Result<StartedVm, StartVmError>;

    /// Ends a VM in order, by force when `grace` has passed. Stopping a VM
    /// that does not run is fine.
    async fn stop(&self, vm: &Selector, grace: Duration) -> Result<Vm, StopVmError>;

    /// Ends a VM that runs, in order or by force when `grace` has passed, and
    /// boots it, detached: it has a new boot id then. One that does not run is
    /// just started. Cancelling may leave it stopped.
    async fn restart(
        &self,
        vm: &Selector,
        grace: Duration,
        progress: &dyn ProgressSink,
    ) -> Result<Vm, RestartVmError>;

    /// Ends a running VM at once; what its guest had not written is lost.
    async fn kill(&self, vm: &Selector) -> Result<Vm, KillVmError>;

    /// Stops the CPUs of a running VM, which keeps its memory; one that is
    /// paused already is fine. Cancelling may leave it paused.
    async fn pause(&self, vm: &Selector) -> Result<Vm, PauseVmError>;

    /// Lets the CPUs of a paused VM go on; one that runs is fine.
    async fn resume(&self, vm: &Selector) -> Result<Vm, PauseVmError>;

    /// Keeps a VM that runs or is paused as it is: memory, devices and disks. It
    /// stands still meanwhile, and then is as it was. Cancelling leaves nothing,
    /// unless everything was kept already.
    async fn snapshot(&self, vm: &Selector) -> Result<Snapshot, SnapshotVmError> {
        self.snapshot_as(vm, SnapshotId::generate()).await
    }

    /// The same under an id that nothing had before, for whoever must find the
    /// snapshot again after a crash. What a try under the same id has left is
    /// removed first, once nobody works on it any more.
    async fn snapshot_as(&self, vm: &Selector, id: SnapshotId)
    -> Result<Snapshot, SnapshotVmError>;

    /// Makes a VM that goes on where another one was kept, and answers when its
    /// agent does, or when its VMM runs if it has none. It has disks of its own;
    /// its connections are gone, its clock is set, its random numbers are its
    /// own. One that does not come up leaves nothing. Cancelling leaves it to
    /// its monitor, if that has it already.
    async fn restore(
        &self,
        snapshot: &Selector,
        request: RestoreVm,
        lifetime: Lifetime,
        progress: &dyn ProgressSink,
    ) -> Result<StartedVm, RestoreVmError>;

    /// Every snapshot, oldest first.
    async fn list_snapshots(&self) -> Result<Vec<Snapshot>, SnapshotQueryError>;

    /// The snapshot that an id, or a part of one, means.
    async fn show_snapshot(&self, snapshot: &Selector) -> Result<Snapshot, SnapshotQueryError>;

    /// Removes a snapshot and its files. VMs that went on from it are not
    /// touched. Cancelling leaves files for the next reconcile at most.
    async fn delete_snapshot(&self, snapshot: &Selector) -> Result<Snapshot, DeleteSnapshotError>;

    /// What a VM costs the host.
    async fn stats(&self, vm: &Selector) -> Result<VmStats, VmStatsError>;

    /// Waits until a VM is stopped or failed, at most `limit`, and answers its
    /// record then; at once when it is so already. One that never ran is waited
    /// for until it has. A VM that was removed because it stopped is answered
    /// as it ended. Cancelling changes nothing.
    async fn wait(&self, vm: &Selector, limit: Option<Duration>) -> Result<Vm, WaitVmError>;

    /// Changes what is asked of a VM, and answers its record. A running one
    /// keeps its CPUs and memory until it boots again, and its disk; labels
    /// change at once. Cancelling may leave a disk that has grown already.
    async fn set(&self, vm: &Selector, request: SetVm) -> Result<Vm, SetVmError>;

    /// Removes a VM and all its files. A running one is refused unless
    /// `force`, which stops it first.
    async fn delete(&self, vm: &Selector, force: bool) -> Result<Vm, DeleteVmError>;

    /// Removes VMs that stopped or failed. One that cannot be removed does not
    /// keep the others. Cancelling leaves the rest.
    async fn prune(&self, request: PruneVms) -> Result<PrunedVms, VmQueryError>;

    /// What happened to one or all VMs after the change with a number, oldest
    /// first; from the oldest on without one. At most a page: the last one's
    /// number leads to the next page, and an empty page is the present. The
    /// last 10000 changes are kept, also those of VMs that are gone (a whole id
    /// means these).
    async fn changes(
        &self,
        vm: Option<&Selector>,
        after: Option<u64>,
    ) -> Result<Vec<VmChange>, VmChangesError>;

    /// Every VM, by name.
    async fn list(&self) -> Result<Vec<Vm>, VmQueryError>;

    /// A part of that list, in any order. A VM that is there for the whole of a
    /// walk from page to page is met exactly once. A page that is not full is the
    /// last one.
    async fn page(&self, page: VmPage) -> Result<Vec<Vm>, VmQueryError>;

    /// The VM a selector means.
    async fn show(&self, vm: &Selector) -> Result<Vm, VmQueryError>;

    /// Reads the console log.
    async fn logs(&self, vm: &Selector, request: LogsRequest) -> Result<LogStream, LogsError>;

    /// Runs a command in a running VM. Answers once the process runs; a
    /// process that cannot be started is an [`ExecError::Spawn`]. Asking twice
    /// under one id runs it once. Dropping the session kills the process unless
    /// the request says otherwise.
    async fn exec(&self, vm: &Selector, request: ExecRequest) -> Result<ExecSession, ExecError>;

    /// Attaches to a command that was started before, by whomever, and gets its
    /// output from an offset on: what is not kept any more is told as
    /// [`ExecEvent::Truncated`]. Who was attached before is sent away.
    async fn attach_exec(
        &self,
        vm: &Selector,
        exec: &ExecId,
        from_offset: u64,
    ) -> Result<ExecSession, ExecError>;

    /// The commands that run in a VM, and those that ended and are still known,
    /// oldest first.
    async fn list_execs(&self, vm: &Selector) -> Result<Vec<ExecInfo>, ExecError>;

    /// Ends a command and forgets it.
    async fn delete_exec(&self, vm: &Selector, exec: &ExecId) -> Result<(), ExecError>;

    /// What a path of a running VM's guest is; of a link itself, unless
    /// `follow_link`. Cancelling changes nothing.
    async fn stat_path(
        &self,
        vm: &Selector,
        path: &[u8],
        follow_link: bool,
    ) -> Result<GuestFile, CopyError>;

    /// Reads a file or a tree of a running VM's guest as a tar stream.
    async fn read_tree(&self, vm: &Selector, request: ReadTree) -> Result<TreeStream, CopyError>;

    /// Writes a tar stream as files of a running VM's guest. Each is replaced
    /// whole. A stream without an end is an error; it, or cancelling, leaves
    /// the files that were written before.
    async fn write_tree(
        &self,
        vm: &Selector,
        request: WriteTree,
        tar: tokio::sync::mpsc::Receiver<StreamPiece>,
    ) -> Result<Copied, CopyError>;

    /// Opens a TCP connection inside a running VM's guest, without any network
    /// between host and guest. Dropping it closes the connection.
    async fn connect(
        &self,
        vm: &Selector,
        address: GuestAddress,
    ) -> Result<GuestConnection, ConnectError>;
}
