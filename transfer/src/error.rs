//! Why a transfer failed.

use std::io;

use rustix::io::Errno;

/// Longest piece of a path that a message shows, in bytes.
const SHOWN: usize = 200;

/// What sort of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// Something does not exist.
    NotFound,
    /// A directory is needed, and something else is there.
    NotADirectory,
    /// A directory is there, and something else is needed.
    IsADirectory,
    /// The system forbids it.
    PermissionDenied,
    /// The disk, a quota or the inodes are used up.
    NoSpace,
    /// The stream is malformed or holds what is not made here.
    Invalid,
    /// A limit was exceeded.
    Limit,
    /// The other side of the stream went away.
    Broken,
    /// Anything else.
    Other,
}

/// A transfer failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// A file could not be read or made.
    #[error("cannot {action} {}", shown(path))]
    File {
        /// What was tried.
        action: &'static str,
        /// The file, as the tree names it.
        path: Vec<u8>,
        /// The cause.
        source: io::Error,
    },
    /// An entry cannot be used.
    #[error("{}: {problem}", shown(path))]
    Entry {
        /// Its path.
        path: Vec<u8>,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A limit was exceeded.
    #[error("{}: more than {limit} {what}", shown(path))]
    Limit {
        /// The entry that does.
        path: Vec<u8>,
        /// The limit.
        limit: u64,
        /// Of what.
        what: &'static str,
    },
    /// The stream is no archive.
    #[error("the tar stream is damaged: {problem}")]
    Archive {
        /// What is wrong with it.
        problem: String,
    },
    /// The stream broke.
    #[error("the stream broke")]
    Stream(#[source] io::Error),
}

impl TransferError {
    /// What sort of failure it is.
    #[must_use]
    pub fn failure(&self) -> Failure {
        match self {
            Self::File { source, .. } => of_io(source),
            Self::Entry { .. } | Self::Archive { .. } => Failure::Invalid,
            Self::Limit { .. } => Failure::Limit,
            Self::Stream(_) => Failure::Broken,
        }
    }

    pub(crate) fn file(action: &'static str, path: &[u8]) -> impl FnOnce(Errno) -> Self {
        move |errno| Self::io(action, path)(errno.into())
    }

    pub(crate) fn io(action: &'static str, path: &[u8]) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File {
            action,
            path: path.to_vec(),
            source,
        }
    }

    pub(crate) fn entry(path: &[u8], problem: &'static str) -> Self {
        Self::Entry {
            path: path.to_vec(),
            problem,
        }
    }

    pub(crate) fn limit(path: &[u8], limit: u64, what: &'static str) -> Self {
        Self::Limit {
            path: path.to_vec(),
            limit,
            what,
        }
    }
}

fn of_io(error: &io::Error) -> Failure {
    use io::ErrorKind as Io;
    match error.kind() {
        Io::NotFound => Failure::NotFound,
        Io::NotADirectory => Failure::NotADirectory,
        Io::IsADirectory => Failure::IsADirectory,
        Io::PermissionDenied | Io::ReadOnlyFilesystem => Failure::PermissionDenied,
        Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => Failure::NoSpace,
        _ => Failure::Other,
    }
}

/// A path for a message: on one line, without control characters, and not
/// without end.
fn shown(path: &[u8]) -> String {
    let cut = path.len().min(SHOWN);
    let end = if cut < path.len() { "…" } else { "" };
    let text = String::from_utf8_lossy(path.get(..cut).unwrap_or_default());
    let mut shown = String::with_capacity(cut);
    for character in text.chars() {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown + end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_any_bytes_are_shown_on_one_short_line() {
        assert_eq!(shown(b"a/b c"), "a/b c");
        assert_eq!(shown("grün".as_bytes()), "grün");
        assert_eq!(shown(b"a\nb\x1b"), "a\\nb\\u{1b}");
        assert_eq!(shown(b"\xff"), "\u{fffd}");
        assert!(shown(&[b'a'; 9999]).len() < 300);
    }

    #[test]
    fn causes_have_kinds() {
        for (errno, failure) in [
            (Errno::NOENT, Failure::NotFound),
            (Errno::NOTDIR, Failure::NotADirectory),
            (Errno::ISDIR, Failure::IsADirectory),
            (Errno::ACCESS, Failure::PermissionDenied),
            (Errno::PERM, Failure::PermissionDenied),
            (Errno::ROFS, Failure::PermissionDenied),
            (Errno::NOSPC, Failure::NoSpace),
            (Errno::DQUOT, Failure::NoSpace),
            (Errno::IO, Failure::Other),
        ] {
            let error = TransferError::file("make", b"a")(errno);
            assert_eq!(error.failure(), failure, "{errno:?}");
        }
    }
}
