//! Virtual machines: their life, their monitor, and running commands in them.
//!
//! Purpose: start a VM that outlives its starter, run commands in it with
//! exact output and exit status, end it and leave nothing. Invariants: whoever
//! holds the lock on a VM's directory is its one writer; "alive" means "the
//! lock is held by a monitor"; state changes go through the pure
//! [`lifecycle`] function; a resource is in a known place before it is made.
//! Entry points: [`VmSupervisor`], [`LocalVmSupervisor`], [`monitor`].

mod changes;
mod create;
mod delete;
mod error;
mod exec;
mod exec_call;
mod exec_command;
mod files;
mod http2;
mod kill;
mod launch;
pub mod lifecycle;
mod lock;
mod logs;
pub mod monitor;
mod monitor_call;
mod prune;
mod readiness;
mod reconcile;
mod restart;
mod set;
mod start;
mod stop;
mod supervisor;
mod wait;

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use bytes::Bytes as Buffer;

use crate::{
    domain::{BackendKind, Bytes, RootDiskMode, Selector, Vm, VmChange, VmName},
    progress::ProgressSink,
};

pub use changes::VmChangesError;
pub use error::{
    CreateVmError, DeleteVmError, ExecError, LogsError, ReconcileVmsError, StartVmError,
    StopVmError, VmQueryError,
};
pub use exec::{
    ExecControl, ExecEvent, ExecExit, ExecRequest, ExecSession, SpawnFailure, TerminalSize,
};

pub use kill::KillVmError;
pub use prune::{LabelFilter, PruneVms, PrunedVms};
pub use restart::RestartVmError;
pub use set::{SetVm, SetVmError};
pub use supervisor::{DEFAULT_BOOT_DEADLINE, LocalVmOptions, LocalVmSupervisor, MonitorProgram};
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
    /// How its root disk is made.
    pub root_disk: RootDiskMode,
    /// Size of the disk that takes the writes, at least 16 MiB; for a copy of
    /// the image's disk at least as much as that has.
    pub disk_size: Bytes,
    /// The wanted backend; none means the best one there is.
    pub backend: Option<BackendKind>,
    /// Delete the VM as soon as it stops.
    pub remove_on_stop: bool,
    /// The user's own labels.
    pub labels: BTreeMap<String, String>,
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

/// Which part of a console log is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogsRequest {
    /// Only the last lines; all that are kept when none is given.
    pub tail: Option<usize>,
    /// Go on until the VM stops.
    pub follow: bool,
}

/// Chunks of a console log. Bounded; dropping it ends the reading.
#[derive(Debug)]
pub struct LogStream {
    /// The chunks, in order.
    pub chunks: tokio::sync::mpsc::Receiver<Result<Buffer, LogsError>>,
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

    /// Boots a VM and answers when its agent does. Starting a running VM is an
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

    /// The VM a selector means.
    async fn show(&self, vm: &Selector) -> Result<Vm, VmQueryError>;

    /// Reads the console log.
    async fn logs(&self, vm: &Selector, request: LogsRequest) -> Result<LogStream, LogsError>;

    /// Runs a command in a running VM. Answers once the process runs; a
    /// process that cannot be started is an [`ExecError::Spawn`]. Dropping the
    /// session kills the process.
    async fn exec(&self, vm: &Selector, request: ExecRequest) -> Result<ExecSession, ExecError>;
}

/// An error and its causes on one line.
fn in_words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push_str(": ");
        words.push_str(&error.to_string());
        cause = error.source();
    }
    words
}
