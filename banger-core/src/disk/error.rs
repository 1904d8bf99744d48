//! Why a disk cannot be read.

use camino::{Utf8Path, Utf8PathBuf};
use ext4_view::Ext4Error;

use crate::ErrorKind;

/// A disk cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    /// The path is not there, or is not what it should be.
    #[error("{path:?} on {disk} {problem}")]
    Path {
        /// The disk's file.
        disk: Utf8PathBuf,
        /// The path on it, escaped.
        path: String,
        /// What is wrong with it.
        problem: &'static str,
        /// How that counts.
        kind: ErrorKind,
    },
    /// The file cannot be opened, or is no sound ext4 file system.
    #[error("failed to read the disk {disk}")]
    Disk {
        /// The disk's file.
        disk: Utf8PathBuf,
        /// The cause.
        source: Ext4Error,
    },
    /// Its journal holds changes that were not carried out.
    #[error("the disk {disk} was not unmounted: its journal must be replayed")]
    NeedsRecovery {
        /// The disk's file.
        disk: Utf8PathBuf,
    },
    /// It has something that cannot be read.
    #[error("the disk {disk} has {feature}, which cannot be read")]
    Unsupported {
        /// The disk's file.
        disk: Utf8PathBuf,
        /// What it has.
        feature: String,
    },
    /// Its structures contradict themselves.
    #[error("the disk {disk} is damaged: {problem}")]
    Damaged {
        /// The disk's file.
        disk: Utf8PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The host failed to read it.
    #[error("failed to read the disk {disk}")]
    Io {
        /// The disk's file.
        disk: Utf8PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// It claims more entries or deeper directories than are looked at.
    #[error("the disk {disk} has more entries, or deeper ones, than are looked at")]
    TooMuch {
        /// The disk's file.
        disk: Utf8PathBuf,
    },
}

impl DiskError {
    pub(super) fn of(disk: &Utf8Path, path: Option<&[u8]>, error: Ext4Error) -> Self {
        let disk = disk.to_owned();
        let problem = match &error {
            Ext4Error::NotFound => Some(("does not exist", ErrorKind::NotFound)),
            Ext4Error::NotADirectory => Some(("is not a directory", ErrorKind::InvalidInput)),
            Ext4Error::IsADirectory => Some(("is a directory", ErrorKind::InvalidInput)),
            Ext4Error::IsASpecialFile => Some(("is no regular file", ErrorKind::InvalidInput)),
            Ext4Error::TooManySymlinks => Some(("is a loop of links", ErrorKind::InvalidInput)),
            Ext4Error::MalformedPath | Ext4Error::PathTooLong => {
                Some(("cannot be a path", ErrorKind::InvalidInput))
            }
            _ => None,
        };
        match (problem, path) {
            (Some((problem, kind)), Some(path)) => Self::Path {
                disk,
                path: path.escape_ascii().to_string(),
                problem,
                kind,
            },
            _ => Self::Disk {
                disk,
                source: error,
            },
        }
    }

    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Path { kind, .. } => *kind,
            Self::Disk { source, .. } => match source {
                Ext4Error::Io(cause) => io_kind(cause.as_ref()),
                Ext4Error::Incompatible(_) | Ext4Error::Encrypted => ErrorKind::Unsupported,
                _ => ErrorKind::Corrupt,
            },
            Self::NeedsRecovery { .. } => ErrorKind::Conflict,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::Damaged { .. } => ErrorKind::Corrupt,
            Self::Io { source, .. } => ErrorKind::of_io(source),
            Self::TooMuch { .. } => ErrorKind::ResourceExhausted,
        }
    }
}

fn io_kind(cause: &(dyn std::error::Error + Send + Sync + 'static)) -> ErrorKind {
    let io = cause.downcast_ref::<std::io::Error>();
    io.map_or(ErrorKind::Corrupt, |error| match ErrorKind::of_io(error) {
        // a disk that ends before its structures is damaged
        ErrorKind::Internal => ErrorKind::Corrupt,
        kind => kind,
    })
}
