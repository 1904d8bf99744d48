//! A tar stream becomes files below a directory.
//!
//! Invariants: the stream is untrusted; nothing outside the directory is
//! touched, and no link is followed; a file appears whole; what is there keeps
//! its place: a directory is added to, a file is replaced, and one never takes
//! the place of the other.

mod attributes;
mod files;

use std::{ffi::CString, io::Read, os::fd::BorrowedFd};

use rustix::{
    fs::{AtFlags, FileType, Mode, mkdirat, statat},
    io::Errno,
};

use super::{
    Limits, TransferError,
    archive::{Archive, Entry, Kind},
    beneath::{Beneath, Missing},
    names::names,
};

/// How to unpack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unpacking {
    /// Whose the files become.
    pub owners: Owners,
    /// Where the stream came from.
    pub origin: Origin,
    /// What the stream may hold.
    pub limits: Limits,
}

/// Whose files become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owners {
    /// Of the user who unpacks. Extended attributes are left out.
    Receiver,
    /// Of those that the archive names, by number; with extended attributes.
    Archive,
}

/// Where a stream came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From whoever may do anything here.
    Trusted,
    /// From a guest: devices are refused, and a program that would run as its
    /// owner only stays so with [`Owners::Archive`].
    Untrusted,
}

/// What was unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Entries of the archive.
    pub entries: u64,
    /// Bytes of the files' content.
    pub content: u64,
}

/// Makes files of a tar stream, which is read to its end.
///
/// What was made before a failure stays, whole file by whole file.
pub fn unpack(
    stream: impl Read,
    directory: BorrowedFd<'_>,
    unpacking: Unpacking,
) -> Result<Unpacked, TransferError> {
    let mut archive = Archive::new(stream, unpacking.limits);
    let mut receiver = Receiver {
        unpacking,
        beneath: Beneath::new(directory),
        unpacked: Unpacked::default(),
        directories: Vec::new(),
    };
    while let Some(entry) = archive.next_entry()? {
        receiver.count(&entry)?;
        receiver.entry(entry, &mut archive)?;
    }
    receiver.settle_directories()?;
    archive.drain()?;
    Ok(receiver.unpacked)
}

/// The directory and what was done so far.
struct Receiver<'a> {
    unpacking: Unpacking,
    beneath: Beneath<'a>,
    unpacked: Unpacked,
    /// Directories get their modes and times when all in them is done.
    directories: Vec<Entry>,
}

impl Receiver<'_> {
    fn count(&mut self, entry: &Entry) -> Result<(), TransferError> {
        let limits = &self.unpacking.limits;
        self.unpacked.entries += 1;
        if limits.entries < self.unpacked.entries {
            return Err(TransferError::limit(&entry.path, limits.entries, "entries"));
        }
        if let Kind::File(layout) = &entry.kind {
            let content = self.unpacked.content.saturating_add(layout.size);
            if limits.content < content {
                return Err(TransferError::limit(
                    &entry.path,
                    limits.content,
                    "bytes of content",
                ));
            }
            self.unpacked.content = content;
        }
        Ok(())
    }

    fn entry<R: Read>(
        &mut self,
        entry: Entry,
        archive: &mut Archive<R>,
    ) -> Result<(), TransferError> {
        let path = names(&entry.path, &self.unpacking.limits)?;
        let Some((name, parents)) = path.split_last() else {
            return root(&entry);
        };
        match &entry.kind {
            Kind::Directory => self.directory(name, parents, entry),
            Kind::HardLink(target) => self.hard_link(name, parents, &entry, target),
            kind => {
                let place = self.beneath.enter(parents, Missing::Make, &entry.path)?;
                let files = files::Files {
                    unpacking: &self.unpacking,
                    place,
                    name,
                    entry: &entry,
                };
                match kind {
                    Kind::File(layout) => files.regular(layout, archive),
                    Kind::Symlink(target) => files.symlink(target),
                    _ => files.special(),
                }
            }
        }
    }

    fn directory(
        &mut self,
        name: &CString,
        parents: &[CString],
        entry: Entry,
    ) -> Result<(), TransferError> {
        let place = self.beneath.enter(parents, Missing::Make, &entry.path)?;
        let made = match mkdirat(place, name, Mode::RWXU) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(errno) => {
                return Err(TransferError::file("make the directory", &entry.path)(
                    errno,
                ));
            }
        };
        if !made {
            let found = statat(place, name, AtFlags::SYMLINK_NOFOLLOW);
            let found = found.map_err(TransferError::file("inspect", &entry.path))?;
            if FileType::from_raw_mode(found.st_mode) != FileType::Directory {
                return Err(TransferError::file("make the directory", &entry.path)(
                    Errno::NOTDIR,
                ));
            }
        }
        // one that was there keeps what it is, unless all is to be as archived
        if made || self.unpacking.owners == Owners::Archive {
            self.directories.push(entry);
        }
        Ok(())
    }

    fn hard_link(
        &mut self,
        name: &CString,
        parents: &[CString],
        entry: &Entry,
        target: &[u8],
    ) -> Result<(), TransferError> {
        let elsewhere = |_| TransferError::entry(&entry.path, "it is a link to what is elsewhere");
        let target = names(target, &self.unpacking.limits).map_err(elsewhere)?;
        let Some((first, way)) = target.split_last() else {
            return Err(TransferError::entry(&entry.path, "it is a link to nothing"));
        };
        let source = self.beneath.enter(way, Missing::Refuse, &entry.path)?;
        let source = source.try_clone_to_owned();
        let source = source.map_err(TransferError::io("make the link", &entry.path))?;
        let place = self.beneath.enter(parents, Missing::Make, &entry.path)?;
        let made = super::draft::place(place, name, |name| {
            rustix::fs::linkat(&source, first, place, name, AtFlags::empty())
        });
        made.map_err(TransferError::file("make the link", &entry.path))
    }

    /// What is in a directory comes before it.
    fn settle_directories(&mut self) -> Result<(), TransferError> {
        for entry in std::mem::take(&mut self.directories).into_iter().rev() {
            let path = names(&entry.path, &self.unpacking.limits)?;
            let place = self.beneath.enter(&path, Missing::Refuse, &entry.path)?;
            attributes::settle_directory(place, &entry, &self.unpacking)?;
        }
        Ok(())
    }
}

/// The directory itself stays as it is.
fn root(entry: &Entry) -> Result<(), TransferError> {
    match entry.kind {
        Kind::Directory => Ok(()),
        _ => Err(TransferError::entry(&entry.path, "it has no name")),
    }
}

#[cfg(test)]
mod tests;
