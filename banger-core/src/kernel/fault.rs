//! What goes wrong while a source is read, before the source is named.

use super::{ImportKernelError, KernelSource};
use crate::host_fs::PathError;

/// A failure of one step of an import.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The source is sound but has no kernel.
    NoKernel(String),
    /// The source is damaged or of an unknown form.
    Malformed(String),
    /// A host file failed.
    Io(PathError),
}

impl Fault {
    pub(crate) fn malformed(problem: impl Into<String>) -> Self {
        Self::Malformed(problem.into())
    }

    /// The same failure with the source's name.
    pub(crate) fn of(self, source: &KernelSource) -> ImportKernelError {
        let source_name = source.to_string();
        match self {
            Self::NoKernel(problem) => ImportKernelError::NoKernel {
                source_name,
                problem,
            },
            Self::Malformed(problem) => ImportKernelError::Malformed {
                source_name,
                problem,
            },
            Self::Io(error) => ImportKernelError::Io(error),
        }
    }
}

impl From<PathError> for Fault {
    fn from(error: PathError) -> Self {
        Self::Io(error)
    }
}
