//! What can go wrong with images, by operation.

use camino::Utf8PathBuf;

use super::ValidationError;
use crate::{
    bundle::BundleError,
    catalog::SupplyError,
    domain::{ImageName, Selector, SnapshotId, VmName},
    error::ErrorKind,
    host_fs::{LockError, Output, PathError},
    kernel::ResolveKernelError,
    oci::SourceError,
    remote::RemoteError,
    rootfs::RootfsError,
    store::StoreError,
    trust::TrustError,
};

/// An image could not be pulled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PullError {
    /// The reference does not make a valid name.
    #[error("no image name can be made from {reference}: give one")]
    NoDefaultName {
        /// The reference.
        reference: String,
    },
    /// The name is taken.
    #[error("image {name} exists already")]
    AlreadyExists {
        /// The name.
        name: ImageName,
    },
    /// The kernel cannot be used.
    #[error("image {name} cannot be pulled without a usable kernel")]
    Kernel {
        /// The image's name.
        name: ImageName,
        /// The cause.
        source: ResolveKernelError,
    },
    /// The image cannot be read.
    #[error("failed to pull image {name}")]
    Source {
        /// The image's name.
        name: ImageName,
        /// The cause.
        source: SourceError,
    },
    /// The policy does not let the image in.
    #[error("image {name} was not pulled")]
    Trust {
        /// The image's name.
        name: ImageName,
        /// The cause.
        source: TrustError,
    },
    /// No catalog has the name.
    #[error("no catalog has image {name}")]
    NotInCatalog {
        /// The name.
        name: ImageName,
    },
    /// A bundle cannot be had or used.
    #[error("failed to load {what}")]
    Load {
        /// The image, or where it is.
        what: String,
        /// The cause.
        source: SupplyError,
    },
    /// The root disk cannot be built.
    #[error("failed to build the root disk of image {name}")]
    Rootfs {
        /// The image's name.
        name: ImageName,
        /// The cause.
        source: RootfsError,
    },
    /// A host file failed.
    #[error("failed to keep image {name}")]
    Io {
        /// The image's name.
        name: ImageName,
        /// The cause.
        source: PathError,
    },
    /// A lock could not be taken.
    #[error("failed to keep image {name}")]
    Lock {
        /// The image's name.
        name: ImageName,
        /// The cause.
        source: LockError,
    },
    /// The store failed.
    #[error("failed to record image {name}")]
    Store {
        /// The image's name.
        name: ImageName,
        /// The cause.
        source: StoreError,
    },
    /// What a server said.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl PullError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Remote(error) => error.kind(),
            Self::NoDefaultName { .. } => ErrorKind::InvalidInput,
            Self::AlreadyExists { .. } => ErrorKind::AlreadyExists,
            Self::Kernel { source, .. } => source.kind(),
            Self::Source { source, .. } => source.kind(),
            Self::Trust { source, .. } => source.kind(),
            Self::NotInCatalog { .. } => ErrorKind::NotFound,
            Self::Load { source, .. } => source.kind(),
            Self::Rootfs { source, .. } => source.kind(),
            Self::Io { source, .. } => source.kind(),
            Self::Lock { source, .. } => source.kind(),
            Self::Store { source, .. } => source.kind(),
        }
    }
}

/// An image could not be registered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// The name is taken.
    #[error("image {name} exists already")]
    AlreadyExists {
        /// The name.
        name: ImageName,
    },
    /// Files cannot be used.
    #[error("image {name} cannot be made of these files")]
    Invalid {
        /// The image's name.
        name: ImageName,
        /// Every problem.
        source: ValidationError,
    },
    /// The kernel cannot be used.
    #[error("image {name} cannot be registered without a usable kernel")]
    Kernel {
        /// The image's name.
        name: ImageName,
        /// The cause.
        source: ResolveKernelError,
    },
    /// A host file failed.
    #[error("failed to register image {name}")]
    Io {
        /// The image's name.
        name: ImageName,
        /// The cause.
        source: PathError,
    },
    /// The store failed.
    #[error("failed to record image {name}")]
    Store {
        /// The image's name.
        name: ImageName,
        /// The cause.
        source: StoreError,
    },
    /// What a server said.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl RegisterError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Remote(error) => error.kind(),
            Self::AlreadyExists { .. } => ErrorKind::AlreadyExists,
            Self::Invalid { .. } => ErrorKind::InvalidInput,
            Self::Kernel { source, .. } => source.kind(),
            Self::Io { source, .. } => source.kind(),
            Self::Store { source, .. } => source.kind(),
        }
    }
}

/// An image could not be bundled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleImageError {
    /// It could not be looked up.
    #[error(transparent)]
    Query(#[from] ImageQueryError),
    /// There is something in the bundle's place.
    #[error("{target} exists already")]
    AlreadyExists {
        /// The bundle's file.
        target: Utf8PathBuf,
    },
    /// The bundle could not be written.
    #[error("failed to bundle image {name}")]
    Bundle {
        /// The image.
        name: ImageName,
        /// The cause.
        source: BundleError,
    },
    /// What a server said.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl BundleImageError {
    /// What a bundle's failure is for that image.
    #[must_use]
    pub fn of_bundle(name: ImageName, target: &Output, source: BundleError) -> Self {
        if source.is_target_taken() {
            let target = target.path().to_owned();
            return Self::AlreadyExists { target };
        }
        Self::Bundle { name, source }
    }

    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Remote(error) => error.kind(),
            Self::Query(error) => error.kind(),
            Self::AlreadyExists { .. } => ErrorKind::AlreadyExists,
            Self::Bundle { source, .. } => source.kind(),
        }
    }
}

/// Images could not be listed or shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageQueryError {
    /// Nothing matches.
    #[error("image {selector} does not exist")]
    NotFound {
        /// What was asked for.
        selector: Selector,
    },
    /// Part of an id matches several.
    #[error("image {selector} could be any of several: give more of the id")]
    Ambiguous {
        /// What was asked for.
        selector: Selector,
    },
    /// The store failed.
    #[error("failed to look up images")]
    Store(#[source] StoreError),
    /// What a server said.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl ImageQueryError {
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

/// An image could not be deleted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeleteImageError {
    /// It could not be looked up.
    #[error(transparent)]
    Query(#[from] ImageQueryError),
    /// VMs use it, or snapshots of VMs.
    #[error("image {name} is used by {}", users(vms, snapshots))]
    InUse {
        /// The image.
        name: ImageName,
        /// The VMs.
        vms: Vec<VmName>,
        /// The snapshots.
        snapshots: Vec<SnapshotId>,
    },
    /// Its artifacts could not be removed.
    #[error("failed to remove the files of image {name}")]
    Io {
        /// The image.
        name: ImageName,
        /// The cause.
        source: PathError,
    },
    /// A lock could not be taken.
    #[error("failed to delete image {name}")]
    Lock {
        /// The image.
        name: ImageName,
        /// The cause.
        source: LockError,
    },
    /// The store failed.
    #[error("failed to delete image {name}")]
    Store {
        /// The image.
        name: ImageName,
        /// The cause.
        source: StoreError,
    },
    /// What a server said.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl DeleteImageError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Remote(error) => error.kind(),
            Self::Query(error) => error.kind(),
            Self::InUse { .. } => ErrorKind::Conflict,
            Self::Io { source, .. } => source.kind(),
            Self::Lock { source, .. } => source.kind(),
            Self::Store { source, .. } => source.kind(),
        }
    }
}

fn users(vms: &[VmName], snapshots: &[SnapshotId]) -> String {
    let vms = vms.iter().map(|name| format!("VM {name}"));
    let snapshots = snapshots.iter().map(|id| format!("snapshot {id}"));
    vms.chain(snapshots).collect::<Vec<_>>().join(", ")
}
