//! What can go wrong when an initrd is made.

use camino::Utf8PathBuf;

use crate::{error::ErrorKind, host_fs::PathError};

/// An initrd could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitrdError {
    /// The guest program cannot be read.
    #[error("failed to read the guest program")]
    GuestProgram(#[source] PathError),
    /// The module tree cannot be read.
    #[error("failed to read the kernel's modules")]
    Modules(#[source] PathError),
    /// A wanted module is neither in the tree nor built in.
    #[error("kernel module {module} is neither in {tree} nor built into the kernel")]
    UnknownModule {
        /// The module.
        module: String,
        /// The module tree.
        tree: Utf8PathBuf,
    },
    /// A module depends on one that is not there.
    #[error(
        "kernel module {needed_by} depends on {module}, which is neither in {tree} nor built into the kernel"
    )]
    MissingDependency {
        /// The missing module.
        module: String,
        /// The module that depends on it.
        needed_by: String,
        /// The module tree.
        tree: Utf8PathBuf,
    },
    /// Modules depend on each other.
    #[error("kernel modules depend on each other: {}", modules.join(" -> "))]
    Cycle {
        /// The circle; the first is also the last.
        modules: Vec<String>,
    },
    /// A module or an index of modules is not what it should be.
    #[error("{path} is damaged: {problem}")]
    Damaged {
        /// The file.
        path: Utf8PathBuf,
        /// What is wrong.
        problem: String,
    },
}

impl InitrdError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::GuestProgram(error) | Self::Modules(error) => error.kind(),
            Self::UnknownModule { .. } => ErrorKind::Unsupported,
            Self::MissingDependency { .. } | Self::Cycle { .. } | Self::Damaged { .. } => {
                ErrorKind::Corrupt
            }
        }
    }
}
