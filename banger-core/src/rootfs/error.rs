//! What can go wrong between layers and a disk.

use crate::{
    domain::{Bytes, Digest},
    error::ErrorKind,
    host_fs::PathError,
    layer::LimitExceeded,
};

/// Where in a layer something was noticed; paths are escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryPosition {
    /// At this entry.
    At(String),
    /// At an entry whose name is not known, the next one after this.
    After(String),
    /// At the first entry, whose name is not known.
    First,
}

impl std::fmt::Display for EntryPosition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::At(path) => write!(f, "at entry {path:?}"),
            Self::After(path) => write!(f, "after entry {path:?}"),
            Self::First => f.write_str("at its first entry"),
        }
    }
}

/// A root disk could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootfsError {
    /// A layer's blob is damaged.
    #[error("layer {layer} is corrupt: {problem}")]
    CorruptLayer {
        /// The layer's blob.
        layer: Digest,
        /// What is wrong.
        problem: String,
    },
    /// A layer's tar stream is not the one its image names.
    #[error("layer {layer} unpacks to {actual}, not to {expected}")]
    WrongDiffId {
        /// The layer's blob.
        layer: Digest,
        /// The diff_id of the image's configuration.
        expected: Digest,
        /// The digest of the stream.
        actual: Digest,
    },
    /// An entry that an ext4 root disk cannot hold, or that is malformed.
    #[error("entry {path:?} of layer {layer} cannot be used: {problem}")]
    UnusableEntry {
        /// The layer's blob.
        layer: Digest,
        /// The entry's path, escaped.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// A layer claims more than the limits allow.
    #[error("layer {layer} exceeds the limit on {limit} {entry}")]
    Limit {
        /// The layer's blob.
        layer: Digest,
        /// Which limit, and its value.
        limit: LimitExceeded,
        /// Where in the layer.
        entry: EntryPosition,
    },
    /// The asked size cannot hold the content.
    #[error("size {size} is too small: the image needs at least {needed}")]
    TooSmall {
        /// The asked size.
        size: Bytes,
        /// The smallest size that would do.
        needed: Bytes,
    },
    /// The content needs a larger disk than there may be.
    #[error("the image needs a disk of more than {largest}")]
    TooLarge {
        /// The largest size that is allowed.
        largest: Bytes,
    },
    /// Something in the merged tree that an ext4 disk cannot hold.
    #[error("{path:?} cannot be stored on an ext4 disk: {problem}")]
    Unrepresentable {
        /// Its path in the image, escaped.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// A host file failed.
    #[error("failed to build the root disk")]
    Io(#[source] PathError),
    /// The caller gave it up.
    #[error("the build of the root disk was cancelled")]
    Cancelled,
}

impl RootfsError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::CorruptLayer { .. } | Self::WrongDiffId { .. } => ErrorKind::Corrupt,
            Self::UnusableEntry { .. } | Self::Unrepresentable { .. } => ErrorKind::Unsupported,
            Self::Limit { .. } | Self::TooLarge { .. } => ErrorKind::ResourceExhausted,
            Self::TooSmall { .. } => ErrorKind::InvalidInput,
            Self::Io(error) => error.kind(),
            Self::Cancelled => ErrorKind::Cancelled,
        }
    }
}
