//! One entry that is no directory.

use std::{
    ffi::CStr,
    fs::File,
    io::{self, Read},
    os::{fd::BorrowedFd, unix::fs::FileExt as _},
};

use rustix::{
    fs::{AtFlags, FileType, Mode, makedev, mknodat, symlinkat, unlinkat},
    io::Errno,
};

use super::{Origin, Unpacking, attributes};
use crate::{
    TransferError,
    archive::{Archive, Entry, Kind, Layout, stream_error},
    draft::{Draft, place},
};

/// Bytes read at once.
const BUFFER: usize = 64 << 10;
/// So many zeros at a time become a hole.
const HOLE: usize = 4 << 10;

/// Where an entry goes.
pub(super) struct Files<'a> {
    pub(super) unpacking: &'a Unpacking,
    pub(super) place: BorrowedFd<'a>,
    pub(super) name: &'a CStr,
    pub(super) entry: &'a Entry,
}

impl Files<'_> {
    pub(super) fn regular<R: Read>(
        &self,
        layout: &Layout,
        archive: &mut Archive<R>,
    ) -> Result<(), TransferError> {
        let draft = Draft::new(self.place).map_err(self.failed("make"))?;
        for (offset, length) in &layout.pieces {
            self.piece(&draft.file, archive, *offset, *length)?;
        }
        let sized = draft.file.set_len(layout.size);
        sized.map_err(TransferError::io("write", &self.entry.path))?;
        attributes::settle_file(&draft.file, self.entry, self.unpacking)?;
        draft
            .publish(self.name)
            .map_err(self.failed("put in place"))
    }

    fn piece<R: Read>(
        &self,
        file: &File,
        archive: &mut Archive<R>,
        offset: u64,
        length: u64,
    ) -> Result<(), TransferError> {
        let mut buffer =
            vec![0; usize::try_from(length).map_or(BUFFER, |length| length.min(BUFFER))];
        let end = offset + length;
        let mut at = offset;
        while at < end {
            let wanted = usize::try_from(end - at).map_or(BUFFER, |left| left.min(BUFFER));
            let part = buffer.get_mut(..wanted).unwrap_or_default();
            archive.read_exact(part).map_err(stream_error)?;
            let written = write_sparse(file, part, at);
            written.map_err(TransferError::io("write", &self.entry.path))?;
            at += wanted as u64;
        }
        Ok(())
    }

    pub(super) fn symlink(&self, target: &[u8]) -> Result<(), TransferError> {
        self.put("make the link", |name| symlinkat(target, self.place, name))
    }

    pub(super) fn special(&self) -> Result<(), TransferError> {
        let (kind, device) = match self.entry.kind {
            Kind::CharDevice(major, minor) => (FileType::CharacterDevice, makedev(major, minor)),
            Kind::BlockDevice(major, minor) => (FileType::BlockDevice, makedev(major, minor)),
            _ => (FileType::Fifo, 0),
        };
        if kind != FileType::Fifo && self.unpacking.origin == Origin::Untrusted {
            let problem = "it is a device, and devices are not taken from guests";
            return Err(TransferError::entry(&self.entry.path, problem));
        }
        let mode = attributes::mode(self.entry, self.unpacking);
        self.put("make", |name| {
            mknodat(self.place, name, kind, Mode::RUSR | Mode::WUSR, device)?;
            // the umask does not count
            rustix::fs::chmodat(self.place, name, mode, AtFlags::empty())
        })
    }

    /// Makes something without content, with its owner and time.
    fn put(
        &self,
        action: &'static str,
        make: impl Fn(&CStr) -> Result<(), Errno>,
    ) -> Result<(), TransferError> {
        let failure = std::cell::Cell::new(None);
        let put = place(self.place, self.name, |name| {
            make(name)?;
            let settled = attributes::settle_other(self.place, name, self.entry, self.unpacking);
            settled.map_err(|error| {
                let _ = unlinkat(self.place, name, AtFlags::empty());
                failure.set(Some(error));
                Errno::CANCELED
            })
        });
        match failure.into_inner() {
            Some(error) => Err(error),
            None => put.map_err(self.failed(action)),
        }
    }

    fn failed(&self, action: &'static str) -> impl FnOnce(Errno) -> TransferError {
        TransferError::file(action, &self.entry.path)
    }
}

/// Writes all but the zeros: nothing was written there before.
fn write_sparse(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    let is_zero = |part: &[u8]| part.iter().all(|byte| *byte == 0);
    if !bytes.chunks(HOLE).any(is_zero) {
        return file.write_all_at(bytes, offset);
    }
    let mut at = offset;
    for part in bytes.chunks(HOLE) {
        if !is_zero(part) {
            file.write_all_at(part, at)?;
        }
        at += part.len() as u64;
    }
    Ok(())
}
