//! What reading and writing a guest's files looks like from outside.

use bytes::Bytes;
use tokio::sync::mpsc;

use super::CopyError;

pub use banger_transfer::Piece as StreamPiece;

/// A path of a guest, of any bytes.
pub type GuestPath = Vec<u8>;

/// What a path of a guest is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestFile {
    /// Its kind.
    pub kind: GuestFileKind,
    /// Permission bits, with set-user-id, set-group-id and sticky.
    pub mode: u32,
    /// Length in bytes of a regular file.
    pub size: u64,
    /// The path without links; that of a link has none before its last part.
    pub resolved: GuestPath,
}

/// Kinds of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GuestFileKind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A device, fifo or socket.
    Special,
}

/// Which tree of a guest to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadTree {
    /// Absolute path of a file or directory; a last link is not followed.
    pub path: GuestPath,
    /// Its name in the archive; none: only what the directory holds is read.
    pub archived_as: Option<Vec<u8>>,
}

/// Where in a guest to write a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteTree {
    /// Absolute path of a directory that exists.
    pub directory: GuestPath,
    /// Files get the owners that the archive names; root otherwise.
    pub keep_owners: bool,
}

/// A tree of a guest on its way as a tar stream. Bounded; dropping it ends the
/// reading.
#[derive(Debug)]
pub struct TreeStream {
    /// Pieces and, as the last item, exactly one end or error.
    pub events: mpsc::Receiver<Result<TreeEvent, CopyError>>,
}

/// From a tree that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeEvent {
    /// Bytes of the tar stream.
    Data(Bytes),
    /// The stream is whole.
    End(TreeRead),
}

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TreeRead {
    /// What went over.
    pub copied: Copied,
    /// Sockets, which archives cannot hold, were left out.
    pub sockets_left_out: u64,
    /// Directories that other file systems are mounted on were read without
    /// what these hold.
    pub mounts_left_out: u64,
}

/// What went over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Files, directories and everything else.
    pub entries: u64,
    /// Bytes of the files' content.
    pub content_bytes: u64,
}
