//! What can go wrong with volumes, by operation.

use crate::{
    domain::{Bytes, VmName, VolumeName},
    error::ErrorKind,
    host_fs::{LockError, PathError},
    remote::RemoteError,
    rootfs::RootfsError,
    store::StoreError,
};

/// Volumes could not be listed or shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VolumeQueryError {
    /// There is none of that name.
    #[error("volume {name} does not exist")]
    NotFound {
        /// The name.
        name: VolumeName,
    },
    /// The store failed.
    #[error("failed to look up volumes")]
    Store(#[source] StoreError),
    /// What a server said.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl VolumeQueryError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Remote(error) => error.kind(),
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Store(error) => error.kind(),
        }
    }
}

/// A volume could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateVolumeError {
    /// The name is taken.
    #[error("volume {name} exists already")]
    AlreadyExists {
        /// The name.
        name: VolumeName,
    },
    /// No volume can have that size.
    #[error("size {size} is not allowed: at least {least} is needed")]
    TooSmall {
        /// What was asked for.
        size: Bytes,
        /// The least size.
        least: Bytes,
    },
    /// Its disk could not be made.
    #[error("failed to make the disk of volume {name}")]
    Disk {
        /// The volume.
        name: VolumeName,
        /// The cause.
        source: Box<RootfsError>,
    },
    /// A host file failed.
    #[error("failed to make volume {name}")]
    Io {
        /// The volume.
        name: VolumeName,
        /// The cause.
        source: PathError,
    },
    /// Another process works on volumes for too long.
    #[error("failed to lock the volumes")]
    Lock(#[from] LockError),
    /// The store failed.
    #[error("failed to record the volume")]
    Store(#[source] StoreError),
    /// What a server said.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl CreateVolumeError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Remote(error) => error.kind(),
            Self::AlreadyExists { .. } => ErrorKind::AlreadyExists,
            Self::TooSmall { .. } => ErrorKind::InvalidInput,
            Self::Disk { source, .. } => source.kind(),
            Self::Io { source, .. } => source.kind(),
            Self::Lock(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }
}

/// A volume could not be deleted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeleteVolumeError {
    /// It could not be looked up.
    #[error(transparent)]
    Query(#[from] VolumeQueryError),
    /// VMs have it.
    #[error("volume {name} is used by VM {}", list(vms))]
    InUse {
        /// The volume.
        name: VolumeName,
        /// The VMs.
        vms: Vec<VmName>,
    },
    /// Its files could not be removed.
    #[error("failed to remove the files of volume {name}")]
    Io {
        /// The volume.
        name: VolumeName,
        /// The cause.
        source: PathError,
    },
    /// Another process works on volumes for too long.
    #[error("failed to lock the volumes")]
    Lock(#[from] LockError),
    /// The store failed.
    #[error("failed to delete the volume's record")]
    Store(#[source] StoreError),
    /// What a server said.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl DeleteVolumeError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Remote(error) => error.kind(),
            Self::Query(error) => error.kind(),
            Self::InUse { .. } => ErrorKind::Conflict,
            Self::Io { source, .. } => source.kind(),
            Self::Lock(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }
}

fn list(names: &[VmName]) -> String {
    let names: Vec<&str> = names.iter().map(VmName::as_str).collect();
    names.join(", ")
}

/// What a crash left could not be repaired.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReconcileVolumesError {
    /// A file or directory could not be looked at or removed.
    #[error("failed to clear up after a volume")]
    Io(#[from] PathError),
    /// Another process works on volumes for too long.
    #[error("failed to lock the volumes")]
    Lock(#[from] LockError),
    /// The store failed.
    #[error("failed to read the records of volumes")]
    Store(#[source] StoreError),
}

impl ReconcileVolumesError {
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
