//! What can go wrong with a backend.

use crate::error::ErrorKind;

/// No backend can run a VM on this host, or the chosen one failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// Nothing that can run a VM was found.
    #[error("no backend can run a VM on this host: {reason}")]
    NoBackend {
        /// What was looked for.
        reason: String,
    },
    /// The VMM process could not be started.
    #[error("failed to start {program}")]
    Spawn {
        /// The program.
        program: String,
        /// The cause.
        source: std::io::Error,
    },
}

impl BackendError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoBackend { .. } => ErrorKind::Unsupported,
            Self::Spawn { source, .. } => ErrorKind::of_io(source),
        }
    }
}
