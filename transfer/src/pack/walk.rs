//! Walking a tree, entry by entry.

use std::{
    collections::HashMap,
    ffi::{CStr, CString},
    io::Write,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, openat, readlinkat, statat};
use tar_core::EntryType;

use super::{Mounts, Packed, Packing, content};
use crate::{
    Limits, TransferError,
    header::{self, Attribute, BLOCK_BYTES, Meta},
};

/// A walk and what it writes to.
pub(super) struct Walk<'a> {
    packing: &'a Packing<'a>,
    /// The file system that the tree is on.
    device: u64,
    output: &'a mut dyn Write,
    packed: Packed,
    /// Path in the archive of the present entry.
    path: Vec<u8>,
    /// First names of files with several, by device and inode.
    first_names: HashMap<(u64, u64), Vec<u8>>,
    open: Vec<Level>,
}

/// A directory that is being read.
struct Level {
    entries: Dir,
    /// Length of its path in the archive.
    path: usize,
}

/// What only some entries have.
#[derive(Clone, Copy, Debug, Default)]
struct Details<'a> {
    /// Of a link.
    target: Option<&'a [u8]>,
    attributes: &'a [Attribute],
    /// Of the content.
    size: u64,
}

impl<'a> Details<'a> {
    fn target(target: &'a [u8]) -> Self {
        Self {
            target: Some(target),
            ..Self::default()
        }
    }
}

impl<'a> Walk<'a> {
    pub(super) fn new(packing: &'a Packing<'a>, device: u64, output: &'a mut dyn Write) -> Self {
        Self {
            packing,
            device,
            output,
            packed: Packed::default(),
            path: Vec::new(),
            first_names: HashMap::new(),
            open: Vec::new(),
        }
    }

    /// Writes the root under a name, and everything in it.
    pub(super) fn root(&mut self, name: &[u8], stat: &Stat) -> Result<(), TransferError> {
        self.path = name.to_vec();
        let (name, directory) = (self.packing.path, CWD);
        let name = CString::new(name.as_os_str().as_bytes())
            .map_err(|_| TransferError::entry(&self.path, "its path holds a zero byte"))?;
        self.entry(directory, &name, stat)?;
        self.descend()
    }

    /// Writes what the root holds.
    pub(super) fn content_of_root(&mut self) -> Result<(), TransferError> {
        let told = self.packing.path.as_os_str().as_bytes();
        let opened = openat(CWD, self.packing.path, DIRECTORY, Mode::empty());
        self.push(opened.map_err(TransferError::file("read", told))?)?;
        self.descend()
    }

    /// Ends the stream.
    pub(super) fn finish(self) -> Result<Packed, TransferError> {
        let Self { output, packed, .. } = self;
        let ended = output.write_all(&[0; 2 * BLOCK_BYTES]);
        ended
            .and_then(|()| output.flush())
            .map_err(TransferError::Stream)?;
        Ok(packed)
    }

    fn descend(&mut self) -> Result<(), TransferError> {
        while let Some(mut level) = self.open.pop() {
            self.path.truncate(level.path);
            let Some(next) = level.entries.read() else {
                continue;
            };
            let next = next.map_err(TransferError::file("read", &self.path))?;
            let place = self.open.len();
            self.child(&level, next.file_name())?;
            // below the directory that was opened meanwhile
            self.open.insert(place, level);
        }
        Ok(())
    }

    fn child(&mut self, level: &Level, name: &CStr) -> Result<(), TransferError> {
        if name == c"." || name == c".." {
            return Ok(());
        }
        let place = level
            .entries
            .fd()
            .map_err(TransferError::file("read", &self.path))?;
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name.to_bytes());
        match statat(place, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => self.entry(place, name, &stat),
            // removed since the directory was read
            Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(errno) => Err(TransferError::file("inspect", &self.path)(errno)),
        }
    }

    fn entry(
        &mut self,
        place: BorrowedFd<'_>,
        name: &CStr,
        stat: &Stat,
    ) -> Result<(), TransferError> {
        crate::names::check_length(&self.path, &self.packing.limits)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Socket {
            self.packed.sockets_left_out += 1;
            return Ok(());
        }
        self.count()?;
        if kind == FileType::Directory {
            return self.directory(place, name, stat);
        }
        if let Some(first) = self.first_name(stat) {
            return self.put(stat, EntryType::Link, &Details::target(&first));
        }
        match kind {
            FileType::RegularFile => self.file(place, name),
            FileType::Symlink => {
                let target = readlinkat(place, name, Vec::new());
                let target = target.map_err(TransferError::file("read the link", &self.path))?;
                self.put(
                    stat,
                    EntryType::Symlink,
                    &Details::target(target.to_bytes()),
                )
            }
            FileType::CharacterDevice => self.put(stat, EntryType::Char, &Details::default()),
            FileType::BlockDevice => self.put(stat, EntryType::Block, &Details::default()),
            FileType::Fifo => self.put(stat, EntryType::Fifo, &Details::default()),
            _ => Err(TransferError::entry(
                &self.path,
                "it is of a kind that is not known",
            )),
        }
    }

    fn directory(
        &mut self,
        place: BorrowedFd<'_>,
        name: &CStr,
        stat: &Stat,
    ) -> Result<(), TransferError> {
        let opened = openat(place, name, DIRECTORY, Mode::empty());
        let opened = opened.map_err(TransferError::file("read the directory", &self.path))?;
        let attributes = content::attributes(opened.as_fd());
        let length = self.path.len();
        self.path.push(b'/');
        let details = Details {
            attributes: &attributes,
            ..Details::default()
        };
        self.put(stat, EntryType::Directory, &details)?;
        self.path.truncate(length);
        if self.packing.mounts == Mounts::LeaveOut && stat.st_dev != self.device {
            self.packed.mounts_left_out += 1;
            return Ok(());
        }
        self.push(opened)
    }

    fn push(&mut self, directory: OwnedFd) -> Result<(), TransferError> {
        let limits: &Limits = &self.packing.limits;
        if limits.depth <= self.open.len() {
            let depth = limits.depth as u64;
            return Err(TransferError::limit(&self.path, depth, "directories"));
        }
        let entries = Dir::new(directory).map_err(TransferError::file("read", &self.path))?;
        self.open.push(Level {
            entries,
            path: self.path.len(),
        });
        Ok(())
    }

    fn file(&mut self, place: BorrowedFd<'_>, name: &CStr) -> Result<(), TransferError> {
        let source = content::Source::open(place, name, &self.path)?;
        let stat = source.stat;
        let details = Details {
            attributes: &source.attributes,
            size: source.size,
            ..Details::default()
        };
        self.put(&stat, EntryType::Regular, &details)?;
        let limit = self.packing.limits.content;
        self.packed.content = self.packed.content.saturating_add(source.size);
        if limit < self.packed.content {
            return Err(TransferError::limit(&self.path, limit, "bytes of content"));
        }
        source.copy(&self.path, self.output)
    }

    fn put(
        &mut self,
        stat: &Stat,
        kind: EntryType,
        details: &Details<'_>,
    ) -> Result<(), TransferError> {
        let is_device = matches!(kind, EntryType::Char | EntryType::Block);
        let device = is_device.then(|| {
            (
                rustix::fs::major(stat.st_rdev),
                rustix::fs::minor(stat.st_rdev),
            )
        });
        let meta = Meta {
            kind,
            path: &self.path,
            target: details.target,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: details.size,
            modified: (
                stat.st_mtime,
                u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
            ),
            device,
            attributes: details.attributes,
        };
        let headers = header::headers(&meta)?;
        self.output
            .write_all(&headers)
            .map_err(TransferError::Stream)
    }

    fn count(&mut self) -> Result<(), TransferError> {
        self.packed.entries += 1;
        let limit = self.packing.limits.entries;
        if limit < self.packed.entries {
            return Err(TransferError::limit(&self.path, limit, "entries"));
        }
        Ok(())
    }

    /// The name under which a file was stored already. A first name is
    /// remembered, unless there are too many.
    fn first_name(&mut self, stat: &Stat) -> Option<Vec<u8>> {
        if stat.st_nlink < 2 {
            return None;
        }
        let key = (stat.st_dev, stat.st_ino);
        let first = self.first_names.get(&key).cloned();
        if first.is_none() && self.first_names.len() < self.packing.limits.links {
            self.first_names.insert(key, self.path.clone());
        }
        first
    }
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
