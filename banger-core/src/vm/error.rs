//! What can go wrong with VMs, by operation.

use std::time::Duration;

use crate::{
    domain::{PublishedPort, Selector, VmName, VmState},
    error::ErrorKind,
    host_fs::{LockError, PathError},
    image::{ImageQueryError, ResizeRootfsError},
    remote::RemoteError,
    rootfs::RootfsError,
    store::StoreError,
    vm::{BootFailure, ExecId, PrepareBootError, SpawnFailure, VmVolumeError},
    vmm::BackendError,
};

/// VMs could not be listed or shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VmQueryError {
    /// Nothing matches.
    #[error("VM {selector} does not exist")]
    NotFound {
        /// What was asked for.
        selector: Selector,
    },
    /// Part of an id matches several.
    #[error("VM {selector} could be any of several: give more of the id")]
    Ambiguous {
        /// What was asked for.
        selector: Selector,
    },
    /// The store failed.
    #[error("failed to look up VMs")]
    Store(#[source] StoreError),
    /// What a server said.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl VmQueryError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Remote(error) => error.kind(),
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Ambiguous { .. } => ErrorKind::InvalidInput,
            Self::Store(error) => error.kind(),
        }
    }
}

/// What a crash left could not be repaired.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReconcileVmsError {
    /// A file or directory of a VM could not be looked at or removed.
    #[error("failed to clear up after a VM")]
    Io(#[from] PathError),
    /// Another process makes VMs for too long.
    #[error("failed to lock the directory of VMs")]
    Lock(#[from] LockError),
    /// The store failed.
    #[error("failed to repair the records of VMs")]
    Store(#[source] StoreError),
}

impl ReconcileVmsError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io(error) => error.kind(),
            Self::Lock(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }
}

/// A VM could not be created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateVmError {
    /// The request cannot be met whatever the state.
    #[error("{field} {value} is not allowed: {problem}")]
    InvalidSpec {
        /// Which field.
        field: &'static str,
        /// What was asked for.
        value: String,
        /// What is allowed.
        problem: String,
    },
    /// The name is taken.
    #[error("VM {name} exists already")]
    AlreadyExists {
        /// The name.
        name: VmName,
    },
    /// The image cannot be used.
    #[error(transparent)]
    Image(#[from] ImageQueryError),
    /// No backend can run it.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The writable disk could not be made.
    #[error("failed to make the disk of VM {name}")]
    Disk {
        /// The VM.
        name: VmName,
        /// The cause.
        source: Box<RootfsError>,
    },
    /// The copy of the image's disk could not be given its size.
    #[error("failed to make the disk of VM {name}")]
    Clone {
        /// The VM.
        name: VmName,
        /// The cause.
        source: Box<ResizeRootfsError>,
    },
    /// It cannot have one of its volumes.
    #[error(transparent)]
    Volume(#[from] VmVolumeError),
    /// A host file failed.
    #[error("failed to create VM {name}")]
    Io {
        /// The VM.
        name: VmName,
        /// The cause.
        source: PathError,
    },
    /// A lock could not be taken.
    #[error("failed to create VM {name}")]
    Lock {
        /// The VM.
        name: VmName,
        /// The cause.
        source: LockError,
    },
    /// The work ended before its end; what it made is removed by the next
    /// reconcile.
    #[error("failed to create the VM")]
    Unfinished(#[source] PathError),
    /// The store failed.
    #[error("failed to record the VM")]
    Store(#[source] StoreError),
    /// What a server said.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl CreateVmError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Remote(error) => error.kind(),
            Self::InvalidSpec { .. } => ErrorKind::InvalidInput,
            Self::AlreadyExists { .. } => ErrorKind::AlreadyExists,
            Self::Image(error) => error.kind(),
            Self::Backend(error) => error.kind(),
            Self::Disk { source, .. } => source.kind(),
            Self::Clone { source, .. } => source.kind(),
            Self::Volume(error) => error.kind(),
            Self::Io { source, .. } => source.kind(),
            Self::Lock { source, .. } => source.kind(),
            Self::Unfinished(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }
}

/// A VM could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartVmError {
    /// It could not be looked up.
    #[error(transparent)]
    Query(#[from] VmQueryError),
    /// Its state does not allow it.
    #[error("VM {name} is {}: it cannot be started", state.as_str())]
    WrongState {
        /// The VM.
        name: VmName,
        /// The state.
        state: VmState,
    },
    /// Another call is working on it.
    #[error("VM {name} is being worked on by another call")]
    Busy {
        /// The VM.
        name: VmName,
    },
    /// No backend can run it.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// What the boot needs is not there or could not be made.
    #[error("failed to prepare the boot of VM {name}")]
    Boot {
        /// The VM.
        name: VmName,
        /// What is wrong.
        source: Box<PrepareBootError>,
    },
    /// A port of the host that is to lead to it cannot be bound.
    #[error("VM {name} cannot have port {} of this host", port.host_side())]
    Port {
        /// The VM.
        name: VmName,
        /// The port.
        port: PublishedPort,
        /// The cause.
        source: std::io::Error,
    },
    /// The machine did not come up.
    #[error("VM {name} failed to boot at stage {stage}: {cause}")]
    BootFailed {
        /// The VM.
        name: VmName,
        /// What sort of failure it is.
        failure: BootFailure,
        /// How far it came.
        stage: String,
        /// What happened.
        cause: String,
        /// The last lines of its console.
        console_tail: String,
    },
    /// It may not run any longer.
    #[error("the lease of VM {name} is over")]
    LeaseOver {
        /// The VM.
        name: VmName,
    },
    /// The monitor process failed.
    #[error("the monitor of VM {name} failed: {problem}")]
    Monitor {
        /// The VM.
        name: VmName,
        /// What happened.
        problem: String,
    },
    /// A host file failed.
    #[error("failed to start VM {name}")]
    Io {
        /// The VM.
        name: VmName,
        /// The cause.
        source: PathError,
    },
    /// The store failed.
    #[error("failed to record the start of the VM")]
    Store(#[source] StoreError),
    /// What a server said.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl StartVmError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Remote(error) => error.kind(),
            Self::Query(error) => error.kind(),
            Self::WrongState { .. } | Self::Busy { .. } | Self::LeaseOver { .. } => {
                ErrorKind::Conflict
            }
            Self::Backend(error) => error.kind(),
            Self::Boot { source, .. } => source.kind(),
            Self::Port { source, .. } => match source.kind() {
                std::io::ErrorKind::AddrInUse => ErrorKind::Conflict,
                std::io::ErrorKind::AddrNotAvailable => ErrorKind::InvalidInput,
                _ => ErrorKind::of_io(source),
            },
            Self::BootFailed { failure, .. } => failure.kind(),
            Self::Monitor { .. } => ErrorKind::Internal,
            Self::Io { source, .. } => source.kind(),
            Self::Store(error) => error.kind(),
        }
    }
}

/// A VM could not be stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StopVmError {
    /// It could not be looked up.
    #[error(transparent)]
    Query(#[from] VmQueryError),
    /// Its monitor does not do what it is told.
    #[error("the monitor of VM {name} did not stop it: {problem}")]
    Monitor {
        /// The VM.
        name: VmName,
        /// What happened.
        problem: String,
    },
    /// The VM did not end in time.
    #[error("VM {name} did not stop within {waited:?}")]
    TimedOut {
        /// The VM.
        name: VmName,
        /// How long was waited.
        waited: Duration,
    },
    /// A host file failed.
    #[error("failed to stop VM {name}")]
    Io {
        /// The VM.
        name: VmName,
        /// The cause.
        source: PathError,
    },
    /// The store failed.
    #[error("failed to record the stop of the VM")]
    Store(#[source] StoreError),
    /// What a server said.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl StopVmError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Remote(error) => error.kind(),
            Self::Query(error) => error.kind(),
            Self::Monitor { .. } => ErrorKind::Internal,
            Self::TimedOut { .. } => ErrorKind::Timeout,
            Self::Io { source, .. } => source.kind(),
            Self::Store(error) => error.kind(),
        }
    }
}

/// A VM could not be deleted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeleteVmError {
    /// It could not be looked up.
    #[error(transparent)]
    Query(#[from] VmQueryError),
    /// It runs and force was not asked for.
    #[error("VM {name} is {}: stop it first, or force the deletion", state.as_str())]
    Running {
        /// The VM.
        name: VmName,
        /// The state.
        state: VmState,
    },
    /// Another call is working on it.
    #[error("VM {name} is being worked on by another call")]
    Busy {
        /// The VM.
        name: VmName,
    },
    /// It could not be stopped.
    #[error(transparent)]
    Stop(#[from] StopVmError),
    /// Its files could not be removed.
    #[error("failed to remove the files of VM {name}")]
    Io {
        /// The VM.
        name: VmName,
        /// The cause.
        source: PathError,
    },
    /// The store failed.
    #[error("failed to record the deletion of the VM")]
    Store(#[source] StoreError),
    /// What a server said.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl DeleteVmError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Remote(error) => error.kind(),
            Self::Query(error) => error.kind(),
            Self::Running { .. } | Self::Busy { .. } => ErrorKind::Conflict,
            Self::Stop(error) => error.kind(),
            Self::Io { source, .. } => source.kind(),
            Self::Store(error) => error.kind(),
        }
    }
}

/// A console log could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogsError {
    /// The VM could not be looked up.
    #[error(transparent)]
    Query(#[from] VmQueryError),
    /// The log's file failed.
    #[error("failed to read the console log")]
    Io(#[from] PathError),
    /// What a server said.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl LogsError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Remote(error) => error.kind(),
            Self::Query(error) => error.kind(),
            Self::Io(error) => error.kind(),
        }
    }
}

/// A command could not be run in a VM.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecError {
    /// The VM could not be looked up.
    #[error(transparent)]
    Query(#[from] VmQueryError),
    /// The VM does not run.
    #[error("VM {name} is {}: commands run only in a running VM", state.as_str())]
    NotRunning {
        /// The VM.
        name: VmName,
        /// The state.
        state: VmState,
    },
    /// Nobody in the guest runs commands.
    #[error("VM {name} has no agent of banger's: it boots natively")]
    NoAgent {
        /// The VM.
        name: VmName,
    },
    /// There is nothing to run.
    #[error("no command was given and the image names none")]
    NoCommand,
    /// The process could not be started.
    #[error("{program} cannot be run in the guest: {message}")]
    Spawn {
        /// The program.
        program: String,
        /// Why.
        failure: SpawnFailure,
        /// The guest's words.
        message: String,
    },
    /// The VM went away while the command ran.
    #[error("VM {name} went away while the command ran: {problem}")]
    VmLost {
        /// The VM.
        name: VmName,
        /// What was seen.
        problem: String,
    },
    /// The VM has no such session: it never had, or has forgotten it.
    #[error("VM {name} knows no command {id}")]
    NoSuchExec {
        /// The VM.
        name: VmName,
        /// What was asked for.
        id: ExecId,
    },
    /// Another command has the id.
    #[error("VM {name} runs another command as {id}")]
    IdTaken {
        /// The VM.
        name: VmName,
        /// The id.
        id: ExecId,
    },
    /// The wanted output does not exist yet.
    #[error("the output of command {id} does not reach offset {offset}")]
    BeyondOutput {
        /// The session.
        id: ExecId,
        /// What was asked for.
        offset: u64,
    },
    /// Another client attached to the session.
    #[error("another client attached to command {id}")]
    TakenOver {
        /// The session.
        id: ExecId,
    },
    /// The VM was started by an older banger.
    #[error("VM {name} was started by an older banger, which knows no such calls")]
    Outdated {
        /// The VM.
        name: VmName,
    },
    /// The agent broke the protocol or refused the call.
    #[error("the agent of VM {name} failed: {problem}")]
    Agent {
        /// The VM.
        name: VmName,
        /// What was seen.
        problem: String,
    },
    /// The image's record could not be read.
    #[error(transparent)]
    Image(#[from] ImageQueryError),
    /// What a server said.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl ExecError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Remote(error) => error.kind(),
            Self::Query(error) => error.kind(),
            Self::NotRunning { .. } | Self::TakenOver { .. } => ErrorKind::Conflict,
            Self::NoAgent { .. } | Self::Outdated { .. } => ErrorKind::Unsupported,
            Self::NoCommand | Self::BeyondOutput { .. } => ErrorKind::InvalidInput,
            Self::Spawn { failure, .. } => match failure {
                SpawnFailure::NotFound => ErrorKind::NotFound,
                SpawnFailure::NotExecutable => ErrorKind::PermissionDenied,
                SpawnFailure::Resources => ErrorKind::ResourceExhausted,
                SpawnFailure::BadWorkingDirectory
                | SpawnFailure::UnknownUser
                | SpawnFailure::InvalidRequest => ErrorKind::InvalidInput,
            },
            Self::VmLost { .. } => ErrorKind::Unavailable,
            Self::NoSuchExec { .. } => ErrorKind::NotFound,
            Self::IdTaken { .. } => ErrorKind::AlreadyExists,
            Self::Agent { .. } => ErrorKind::Internal,
            Self::Image(error) => error.kind(),
        }
    }
}
