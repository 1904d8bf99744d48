//! What can go wrong with a backend.

use std::{io, time::Duration};

use tokio::time::timeout;

use super::NetworkError;
use crate::{error::ErrorKind, host_fs::PathError};

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
    /// Firecracker was asked for and cannot be used.
    #[error("Firecracker cannot run a VM on this host: {reason}")]
    NoFirecracker {
        /// What is missing.
        reason: String,
    },
    /// A jail was asked for and cannot be had.
    #[error("Firecracker cannot be jailed on this host: {reason}")]
    NoJail {
        /// What is missing.
        reason: String,
    },
    /// The VMM process could not be started.
    #[error("failed to start {program}")]
    Spawn {
        /// The program.
        program: String,
        /// The cause.
        source: io::Error,
    },
    /// A file or socket of the VMM could not be made or read.
    #[error(transparent)]
    Io(#[from] PathError),
    /// The VMM is of a version that banger cannot use.
    #[error("{program} has version {version}, and banger needs {oldest} or newer")]
    TooOld {
        /// The program.
        program: String,
        /// What it says it is.
        version: String,
        /// The oldest that can be used.
        oldest: String,
    },
    /// The VMM refused a request.
    #[error("the VMM refused {request}: {fault}")]
    Refused {
        /// The request, as its interface names it.
        request: String,
        /// The VMM's own words.
        fault: String,
    },
    /// The VMM was given up on.
    #[error("the VMM did not finish {request} within {deadline:?}")]
    TimedOut {
        /// The request, as its interface names it.
        request: String,
        /// What it was given.
        deadline: Duration,
    },
    /// The conversation with the VMM broke.
    #[error("the VMM's answer to {request} could not be had")]
    Broken {
        /// The request, as its interface names it.
        request: String,
        /// The cause.
        source: io::Error,
    },
    /// The VMM ended when it should have started the machine.
    #[error("the VMM ended with {status}")]
    Ended {
        /// Its exit status or signal, in words.
        status: String,
    },
    /// The machine cannot have its network.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// Another backend made the snapshot, or nothing did.
    #[error("{directory} holds no snapshot of {backend}")]
    NoSnapshot {
        /// The directory.
        directory: String,
        /// The backend that was to go on from it.
        backend: &'static str,
    },
}

/// How a VMM tells that the host's disk is full (`strerror(ENOSPC)`).
const NO_SPACE: &str = "No space left on device";

impl BackendError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoBackend { .. }
            | Self::NoFirecracker { .. }
            | Self::NoJail { .. }
            | Self::TooOld { .. } => ErrorKind::Unsupported,
            Self::Spawn { source, .. } => ErrorKind::of_io(source),
            Self::Io(error) => ErrorKind::of_io(error.io_error()),
            Self::Refused { fault, .. } if fault.contains(NO_SPACE) => ErrorKind::ResourceExhausted,
            Self::Refused { .. } | Self::Broken { .. } | Self::Ended { .. } => ErrorKind::Internal,
            Self::TimedOut { .. } => ErrorKind::Timeout,
            Self::Network(error) => error.kind(),
            Self::NoSnapshot { .. } => ErrorKind::NotFound,
        }
    }

    /// Whether it may only be what the end of the VMM looks like.
    pub(super) const fn may_be_the_end(&self) -> bool {
        matches!(
            self,
            Self::Broken { .. } | Self::TimedOut { .. } | Self::Io(_)
        )
    }
}

/// For `map_err`: names the request whose answer was lost.
pub(super) fn broken(request: &str) -> impl FnOnce(io::Error) -> BackendError {
    let request = request.to_owned();
    move |source| BackendError::Broken { request, source }
}

/// Gives a request up at its deadline.
pub(super) async fn within<T>(
    deadline: Duration,
    request: &str,
    asked: impl Future<Output = Result<T, BackendError>>,
) -> Result<T, BackendError> {
    timeout(deadline, asked).await.unwrap_or_else(|_| {
        Err(BackendError::TimedOut {
            request: request.to_owned(),
            deadline,
        })
    })
}
