//! What can go wrong with snapshots, by operation.

use crate::{
    domain::{Selector, SnapshotId, VmName, VmState},
    error::ErrorKind,
    host_fs::{LockError, PathError},
    remote::RemoteError,
    store::StoreError,
    vm::{CreateVmError, StartVmError, VmQueryError},
};

/// Snapshots could not be looked up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotQueryError {
    /// No snapshot matches.
    #[error("no snapshot matches {selector:?}", selector = selector.as_str())]
    NotFound {
        /// What was looked for.
        selector: Selector,
    },
    /// Several snapshots match.
    #[error("several snapshots match {selector:?}", selector = selector.as_str())]
    Ambiguous {
        /// What was looked for.
        selector: Selector,
    },
    /// The store failed.
    #[error("failed to look up snapshots")]
    Store(#[source] StoreError),
    /// What a server said.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

/// A VM's state could not be kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotVmError {
    /// It could not be looked up.
    #[error(transparent)]
    Query(#[from] VmQueryError),
    /// There is no state to keep.
    #[error("VM {name} is {}: only one that runs can be kept", state.as_str())]
    NotRunning {
        /// The VM.
        name: VmName,
        /// The state.
        state: VmState,
    },
    /// It writes to a disk that is not its own, and that others will change.
    #[error("VM {name} writes to volume {volume}, which a snapshot cannot keep")]
    SharedVolume {
        /// The VM.
        name: VmName,
        /// The volume.
        volume: String,
    },
    /// The host's disk has no room for it.
    #[error("the host's disk has no room for the state of VM {name}: {problem}")]
    NoRoom {
        /// The VM.
        name: VmName,
        /// What happened.
        problem: String,
    },
    /// Its monitor or its VMM failed.
    #[error("the monitor of VM {name} failed: {problem}")]
    Monitor {
        /// The VM.
        name: VmName,
        /// What happened.
        problem: String,
    },
    /// A host file failed.
    #[error("failed to keep the state of VM {name}")]
    Io {
        /// The VM.
        name: VmName,
        /// The cause.
        source: PathError,
    },
    /// Other calls held the lock on snapshots for too long.
    #[error("failed to keep the state of VM {name}")]
    Lock {
        /// The VM.
        name: VmName,
        /// The cause.
        source: LockError,
    },
    /// The store failed.
    #[error("failed to record a snapshot of VM {name}")]
    Store {
        /// The VM.
        name: VmName,
        /// The cause.
        source: StoreError,
    },
    /// What a server said.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

/// A VM could not go on from a snapshot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreVmError {
    /// The snapshot could not be looked up.
    #[error(transparent)]
    Snapshot(#[from] SnapshotQueryError),
    /// A disk that the VM shares with others is not what it was.
    #[error("{path} has changed since snapshot {id} was made")]
    DiskChanged {
        /// The snapshot.
        id: SnapshotId,
        /// The disk.
        path: String,
    },
    /// This host or this banger cannot go on from it.
    #[error("snapshot {id} cannot be gone on from here: {problem}")]
    Unsuited {
        /// The snapshot.
        id: SnapshotId,
        /// Why not.
        problem: String,
    },
    /// A file of it cannot be read.
    #[error("failed to read snapshot {id}")]
    Io {
        /// The snapshot.
        id: SnapshotId,
        /// The cause.
        source: PathError,
    },
    /// The VM could not be made.
    #[error(transparent)]
    Create(#[from] CreateVmError),
    /// The VM did not come up, and is gone again.
    #[error(transparent)]
    Start(#[from] StartVmError),
    /// What a server said.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

/// A snapshot could not be deleted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeleteSnapshotError {
    /// It could not be looked up.
    #[error(transparent)]
    Query(#[from] SnapshotQueryError),
    /// Its files could not be removed.
    #[error("failed to remove the files of snapshot {id}")]
    Io {
        /// The snapshot.
        id: SnapshotId,
        /// The cause.
        source: PathError,
    },
    /// The store failed.
    #[error("failed to delete the record of snapshot {id}")]
    Store {
        /// The snapshot.
        id: SnapshotId,
        /// The cause.
        source: StoreError,
    },
    /// What a server said.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl SnapshotQueryError {
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

impl SnapshotVmError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Remote(error) => error.kind(),
            Self::Query(error) => error.kind(),
            Self::NotRunning { .. } | Self::SharedVolume { .. } => ErrorKind::Conflict,
            Self::NoRoom { .. } => ErrorKind::ResourceExhausted,
            Self::Monitor { .. } => ErrorKind::Internal,
            Self::Io { source, .. } => source.kind(),
            Self::Lock { source, .. } => source.kind(),
            Self::Store { source, .. } => source.kind(),
        }
    }
}

impl RestoreVmError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Remote(error) => error.kind(),
            Self::Snapshot(error) => error.kind(),
            Self::DiskChanged { .. } => ErrorKind::Conflict,
            Self::Unsuited { .. } => ErrorKind::Unsupported,
            Self::Io { source, .. } => source.kind(),
            Self::Create(error) => error.kind(),
            Self::Start(error) => error.kind(),
        }
    }
}

impl DeleteSnapshotError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Remote(error) => error.kind(),
            Self::Query(error) => error.kind(),
            Self::Io { source, .. } => source.kind(),
            Self::Store { source, .. } => source.kind(),
        }
    }
}
