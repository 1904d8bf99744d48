//! What can go wrong between a reference and its verified blobs.

use super::access_error::AccessError;
use crate::{
    domain::Digest,
    error::ErrorKind,
    host_fs::{LockError, PathError},
};

/// An image could not be read from its source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The image or tag does not exist there.
    #[error("{reference} does not exist")]
    NotFound {
        /// The reference.
        reference: String,
    },
    /// A layout or archive has no image of that tag.
    #[error("{reference} does not exist; the layout or archive has {available}")]
    NoTag {
        /// The reference.
        reference: String,
        /// The tags there are.
        available: String,
    },
    /// A layout or archive has several images and no tag was given.
    #[error("{reference} could be any of several images; the layout or archive has {available}")]
    Ambiguous {
        /// The reference.
        reference: String,
        /// The tags there are.
        available: String,
    },
    /// The registry wants credentials or refuses those given.
    #[error("not authorised for {reference}: {reason}")]
    Unauthorised {
        /// The reference.
        reference: String,
        /// What the registry said.
        reason: String,
    },
    /// The registry cannot be reached or fails; retries did not help.
    #[error("failed to read {reference}: {reason}")]
    Unavailable {
        /// The reference.
        reference: String,
        /// What happened last.
        reason: String,
    },
    /// The image has no manifest for the platform.
    #[error("{reference} has no image for {platform}; it has {available}")]
    NoPlatform {
        /// The reference.
        reference: String,
        /// What was wanted.
        platform: String,
        /// What there is.
        available: String,
    },
    /// A manifest, index or configuration is not what the specification says.
    #[error("{reference} is malformed: {problem}")]
    Malformed {
        /// The reference.
        reference: String,
        /// What is wrong.
        problem: String,
    },
    /// Bytes do not match their digest or length.
    #[error("blob {digest} of {reference} is corrupt: {problem}")]
    Corrupt {
        /// The reference.
        reference: String,
        /// The blob as named by its referrer.
        digest: Digest,
        /// What differs.
        problem: String,
    },
    /// A limit was exceeded before the bytes were looked at.
    #[error("{reference} is refused: {problem}")]
    Limit {
        /// The reference.
        reference: String,
        /// Which limit.
        problem: String,
    },
    /// The image uses something banger does not know.
    #[error("{reference} cannot be used: {problem}")]
    Unsupported {
        /// The reference.
        reference: String,
        /// What it is.
        problem: String,
    },
    /// Credentials, certificates or proxies are not in order.
    #[error("failed to get access to {reference}")]
    Access {
        /// The reference.
        reference: String,
        /// The cause.
        source: AccessError,
    },
    /// A host file failed.
    #[error("failed to read or cache {reference}")]
    Io {
        /// The reference.
        reference: String,
        /// The cause.
        source: PathError,
    },
    /// Another process held a blob's lock for too long.
    #[error("failed to cache a blob of {reference}")]
    Lock {
        /// The reference.
        reference: String,
        /// The cause.
        source: LockError,
    },
}

impl SourceError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } | Self::NoTag { .. } | Self::NoPlatform { .. } => {
                ErrorKind::NotFound
            }
            Self::Ambiguous { .. } => ErrorKind::InvalidInput,
            Self::Unauthorised { .. } => ErrorKind::Unauthenticated,
            Self::Unavailable { .. } => ErrorKind::Unavailable,
            Self::Malformed { .. } | Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::Limit { .. } => ErrorKind::ResourceExhausted,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::Access { source, .. } => source.kind(),
            Self::Io { source, .. } => source.kind(),
            Self::Lock { source, .. } => source.kind(),
        }
    }
}
