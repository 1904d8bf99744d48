//! What can go wrong with a bundle, or with what comes with it.

use crate::{domain::Digest, error::ErrorKind, host_fs::PathError, oci::SourceError};

/// A bundle, catalog or signature could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// There is no such file.
    #[error("{location} does not exist")]
    NotFound {
        /// The place.
        location: String,
    },
    /// It cannot be had from where it is.
    #[error(transparent)]
    Remote(#[from] SourceError),
    /// More than is read.
    #[error("{location} is refused: {problem}")]
    Limit {
        /// The place.
        location: String,
        /// Which limit.
        problem: String,
    },
    /// The bytes are not those that were asked for.
    #[error("{location} is corrupt: it should have {expected} and has {actual}")]
    Digest {
        /// The place.
        location: String,
        /// The digest that was asked for.
        expected: Digest,
        /// The digest of what is there.
        actual: Digest,
    },
    /// The bytes are not those that were announced.
    #[error("{location} is corrupt: {problem}")]
    Corrupt {
        /// The place.
        location: String,
        /// What differs.
        problem: String,
    },
    /// The bytes make no bundle.
    #[error("{location} is malformed: {problem}")]
    Malformed {
        /// The place.
        location: String,
        /// What is wrong.
        problem: String,
    },
    /// It is a bundle of another kind, or for another machine.
    #[error("{location} cannot be used: {problem}")]
    Unsupported {
        /// The place.
        location: String,
        /// What it is.
        problem: String,
    },
    /// A host file failed.
    #[error("failed to read or write {location}")]
    Io {
        /// The place.
        location: String,
        /// The cause.
        source: PathError,
    },
    /// Another process writes the same file now.
    #[error("{location} is being written by another process")]
    Busy {
        /// The file.
        location: String,
    },
    /// The caller gave it up.
    #[error("given up")]
    Cancelled,
}

impl BundleError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Remote(error) => error.kind(),
            Self::Limit { .. } => ErrorKind::ResourceExhausted,
            Self::Digest { .. } | Self::Corrupt { .. } | Self::Malformed { .. } => {
                ErrorKind::Corrupt
            }
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::Io { source, .. } => source.kind(),
            Self::Busy { .. } => ErrorKind::Conflict,
            Self::Cancelled => ErrorKind::Cancelled,
        }
    }

    /// Turns a host file's failure into one of `location`.
    pub fn io(location: &impl ToString) -> impl Fn(PathError) -> Self {
        let location = location.to_string();
        move |source| Self::Io {
            location: location.clone(),
            source,
        }
    }

    pub(crate) fn malformed(location: &impl ToString, problem: impl Into<String>) -> Self {
        Self::Malformed {
            location: location.to_string(),
            problem: problem.into(),
        }
    }
}
