//! A file or a tree becomes a tar stream.
//!
//! Invariants: depth first, one open directory for each level; links are never
//! followed; a file with several names is stored once.

mod content;
mod walk;

use std::{io::Write, path::Path};

use rustix::fs::{AtFlags, CWD, statat};

use super::{Limits, TransferError};
use walk::Walk;

/// What to read.
#[derive(Clone, Copy, Debug)]
pub struct Packing<'a> {
    /// The file or directory; a last link is not followed.
    pub path: &'a Path,
    /// Its name in the archive; none: only what the directory holds is read.
    pub archived_as: Option<&'a [u8]>,
    /// Whether other file systems below it are read.
    pub mounts: Mounts,
    /// What the tree may hold.
    pub limits: Limits,
}

/// What to do about file systems that are mounted below a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mounts {
    /// They are read.
    Enter,
    /// The directories they are mounted on are read as empty.
    LeaveOut,
}

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// Entries of the archive.
    pub entries: u64,
    /// Bytes of the files' content.
    pub content: u64,
    /// Sockets, which archives cannot hold.
    pub sockets_left_out: u64,
    /// Directories that were read without what is mounted there.
    pub mounts_left_out: u64,
}

/// Writes a file or a tree as a tar stream.
pub fn pack(packing: &Packing<'_>, output: &mut dyn Write) -> Result<Packed, TransferError> {
    use std::os::unix::ffi::OsStrExt as _;
    let told = packing.path.as_os_str().as_bytes();
    let stat = statat(CWD, packing.path, AtFlags::SYMLINK_NOFOLLOW);
    let stat = stat.map_err(TransferError::file("inspect", told))?;
    let mut walk = Walk::new(packing, stat.st_dev, output);
    match packing.archived_as {
        Some(name) => walk.root(name, &stat)?,
        None => walk.content_of_root()?,
    }
    walk.finish()
}
