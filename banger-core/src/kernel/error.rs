//! What can go wrong with kernels, by operation.

use camino::Utf8PathBuf;

use crate::{
    bundle::BundleError,
    catalog::{CatalogError, SupplyError},
    domain::{ImageName, KernelName},
    error::ErrorKind,
    host_fs::{LockError, Output, PathError},
    image::ValidationError,
    process::ChildError,
    remote::RemoteError,
    store::StoreError,
};

/// A kernel selection could not be resolved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveKernelError {
    /// Both forms were given.
    #[error("kernel {name} and kernel paths were both given: give one or the other")]
    Ambiguous {
        /// The name.
        name: KernelName,
    },
    /// Nothing was given.
    #[error("no kernel was chosen: give the name of an imported kernel or a path")]
    Nothing,
    /// The name is not in the store.
    #[error("kernel {name} does not exist")]
    NotFound {
        /// The name.
        name: KernelName,
    },
    /// A catalog has it, but it could not be pulled.
    #[error("kernel {name} could not be pulled")]
    Pull {
        /// The name.
        name: KernelName,
        /// The cause.
        source: Box<PullKernelError>,
    },
    /// The files do not make a kernel triple.
    #[error("the kernel files cannot be used")]
    Invalid(#[source] ValidationError),
    /// The store failed.
    #[error("failed to look up the kernel")]
    Store(#[source] StoreError),
    /// What a server said.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl ResolveKernelError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Remote(error) => error.kind(),
            Self::Ambiguous { .. } | Self::Nothing | Self::Invalid(_) => ErrorKind::InvalidInput,
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Pull { source, .. } => source.kind(),
            Self::Store(error) => error.kind(),
        }
    }
}

/// A kernel could not be imported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportKernelError {
    /// The name is taken.
    #[error("kernel {name} exists already")]
    AlreadyExists {
        /// The name.
        name: KernelName,
    },
    /// The name is one that banger's own working directories have.
    #[error("kernel name {name} is reserved: choose one that does not end in .staging")]
    ReservedName {
        /// The name.
        name: KernelName,
    },
    /// Somebody else imports a kernel under that name now.
    #[error("kernel {name} is being imported by another process")]
    Busy {
        /// The name.
        name: KernelName,
    },
    /// The source's release does not make a valid name.
    #[error("no kernel name can be made from release {release:?}: give one")]
    NoDefaultName {
        /// The kernel's release.
        release: String,
    },
    /// The source holds no kernel.
    #[error("{source_name} holds no kernel: {problem}")]
    NoKernel {
        /// The source, as given.
        source_name: String,
        /// What was looked for.
        problem: String,
    },
    /// The source is damaged or of an unknown form.
    #[error("{source_name} cannot be read as a kernel: {problem}")]
    Malformed {
        /// The source, as given.
        source_name: String,
        /// What is wrong.
        problem: String,
    },
    /// The package tools failed.
    #[error("failed to fetch package {package}")]
    Fetch {
        /// The package.
        package: String,
        /// The cause.
        source: ChildError,
    },
    /// A bundle cannot be had, or the policy does not let the source in.
    #[error("failed to import a kernel from {source_name}")]
    Supply {
        /// The source, as given.
        source_name: String,
        /// The cause.
        source: SupplyError,
    },
    /// A file could not be read or written.
    #[error("failed to import the kernel")]
    Io(#[source] PathError),
    /// A lock could not be taken.
    #[error("failed to import the kernel")]
    Lock(#[source] LockError),
    /// The store failed.
    #[error("failed to record the kernel")]
    Store(#[source] StoreError),
    /// What a server said.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl ImportKernelError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Remote(error) => error.kind(),
            Self::AlreadyExists { .. } => ErrorKind::AlreadyExists,
            Self::Busy { .. } => ErrorKind::Conflict,
            Self::ReservedName { .. } | Self::NoDefaultName { .. } | Self::NoKernel { .. } => {
                ErrorKind::InvalidInput
            }
            Self::Malformed { .. } => ErrorKind::Corrupt,
            Self::Fetch { source, .. } => source.kind(),
            Self::Supply { source, .. } => source.kind(),
            Self::Io(error) => error.kind(),
            Self::Lock(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }
}

/// A kernel could not be pulled from a catalog.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PullKernelError {
    /// No catalog has the name.
    #[error("no catalog has kernel {name}")]
    NotInCatalog {
        /// The name.
        name: KernelName,
    },
    /// A catalog cannot be used.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// It could not be imported.
    #[error(transparent)]
    Import(#[from] ImportKernelError),
    /// The kernel that it replaces is in use.
    #[error(transparent)]
    Replace(#[from] DeleteKernelError),
    /// What a server said.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl PullKernelError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Remote(error) => error.kind(),
            Self::NotInCatalog { .. } => ErrorKind::NotFound,
            Self::Catalog(error) => error.kind(),
            Self::Import(error) => error.kind(),
            Self::Replace(error) => error.kind(),
        }
    }
}

/// A kernel could not be bundled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleKernelError {
    /// It could not be looked up.
    #[error(transparent)]
    Query(#[from] KernelQueryError),
    /// There is something in the bundle's place.
    #[error("{target} exists already")]
    AlreadyExists {
        /// The bundle's file.
        target: Utf8PathBuf,
    },
    /// The bundle could not be written.
    #[error("failed to bundle kernel {name}")]
    Bundle {
        /// The kernel.
        name: KernelName,
        /// The cause.
        source: BundleError,
    },
    /// What a server said.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl BundleKernelError {
    /// What a bundle's failure is for that kernel.
    #[must_use]
    pub fn of_bundle(name: KernelName, target: &Output, source: BundleError) -> Self {
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

/// Kernels could not be listed or shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelQueryError {
    /// The name is not in the store.
    #[error("kernel {name} does not exist")]
    NotFound {
        /// The name.
        name: KernelName,
    },
    /// The store failed.
    #[error("failed to look up kernels")]
    Store(#[source] StoreError),
    /// What a server said.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl KernelQueryError {
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

/// A kernel could not be deleted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeleteKernelError {
    /// The name is not in the store.
    #[error("kernel {name} does not exist")]
    NotFound {
        /// The name.
        name: KernelName,
    },
    /// Images refer to it.
    #[error("kernel {name} is used by {}", list(images))]
    InUse {
        /// The kernel.
        name: KernelName,
        /// The images.
        images: Vec<ImageName>,
    },
    /// Its directory could not be removed.
    #[error("failed to remove the files of kernel {name} in {directory}")]
    Io {
        /// The kernel.
        name: KernelName,
        /// Its directory.
        directory: Utf8PathBuf,
        /// The cause.
        source: PathError,
    },
    /// A lock could not be taken.
    #[error("failed to delete the kernel")]
    Lock(#[source] LockError),
    /// The store failed.
    #[error("failed to delete the kernel")]
    Store(#[source] StoreError),
    /// What a server said.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl DeleteKernelError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Remote(error) => error.kind(),
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::InUse { .. } => ErrorKind::Conflict,
            Self::Io { source, .. } => source.kind(),
            Self::Lock(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }
}

/// What crashes left could not be repaired.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReconcileKernelsError {
    /// A directory could not be read or removed.
    #[error("failed to repair the kernels' directory")]
    Io(#[source] PathError),
    /// A lock could not be taken.
    #[error("failed to repair the kernels' directory")]
    Lock(#[source] LockError),
    /// The store failed.
    #[error("failed to repair the kernels' directory")]
    Store(#[source] StoreError),
}

impl ReconcileKernelsError {
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

fn list(images: &[ImageName]) -> String {
    let names: Vec<&str> = images.iter().map(ImageName::as_str).collect();
    format!("image {}", names.join(", "))
}
