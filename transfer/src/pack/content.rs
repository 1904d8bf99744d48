//! The content of one regular file, and its extended attributes.

use std::{
    ffi::CStr,
    fs::File,
    io::{self, Read as _, Write},
    os::fd::BorrowedFd,
};

use rustix::fs::{FileType, Mode, OFlags, Stat, fgetxattr, flistxattr, fstat, openat};

use crate::{
    TransferError,
    header::{Attribute, BLOCK, BLOCK_BYTES},
};

/// Files of the kernel tell no size: so much of one is read.
const UNTOLD: u64 = 4 << 20;
/// Most bytes of names, and of one value, of extended attributes (xattr(7)).
const ATTRIBUTES: usize = 64 << 10;
/// What is copied: the rest belongs to the file system or to its labels.
const COPIED: [&[u8]; 3] = [b"user.", b"security.capability", b"system.posix_acl_"];

/// An open file.
pub(super) struct Source {
    pub(super) stat: Stat,
    /// Bytes that are copied.
    pub(super) size: u64,
    pub(super) attributes: Vec<Attribute>,
    /// The beginning, read already.
    begun: Vec<u8>,
    rest: File,
}

impl Source {
    pub(super) fn open(
        place: BorrowedFd<'_>,
        name: &CStr,
        path: &[u8],
    ) -> Result<Self, TransferError> {
        // NONBLOCK: what became a pipe since must not make us wait
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = openat(place, name, flags, Mode::empty());
        let opened = opened.map_err(TransferError::file("open", path))?;
        let stat = fstat(&opened).map_err(TransferError::file("inspect", path))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(TransferError::entry(path, "it changed while it was read"));
        }
        let attributes = attributes(std::os::fd::AsFd::as_fd(&opened));
        let rest = File::from(opened);
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let mut begun = Vec::new();
        if size == 0 {
            let read = (&rest).take(UNTOLD).read_to_end(&mut begun);
            read.map_err(TransferError::io("read", path))?;
        }
        Ok(Self {
            stat,
            size: size.max(begun.len() as u64),
            attributes,
            begun,
            rest,
        })
    }

    /// Writes the content, and what fills its last block.
    pub(super) fn copy(self, path: &[u8], output: &mut dyn Write) -> Result<(), TransferError> {
        output
            .write_all(&self.begun)
            .map_err(TransferError::Stream)?;
        let mut left = self.size - self.begun.len() as u64;
        let mut buffer = vec![0; usize::try_from(left.min(64 << 10)).unwrap_or(0)];
        let mut file = self.rest;
        while left != 0 {
            let wanted = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
            let part = buffer.get_mut(..wanted).unwrap_or_default();
            let read = match file.read(part) {
                Ok(0) => {
                    return Err(TransferError::entry(
                        path,
                        "it became shorter while it was read",
                    ));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read.map_err(TransferError::io("read", path))?,
            };
            let part = part.get(..read).unwrap_or_default();
            output.write_all(part).map_err(TransferError::Stream)?;
            left -= read as u64;
        }
        let padding = usize::try_from((BLOCK - self.size % BLOCK) % BLOCK).unwrap_or(0);
        let zeros = [0; BLOCK_BYTES];
        let padding = zeros.get(..padding).unwrap_or_default();
        output.write_all(padding).map_err(TransferError::Stream)
    }
}

/// The attributes that are copied; none where there are no such things.
pub(super) fn attributes(file: BorrowedFd<'_>) -> Vec<Attribute> {
    let mut names = [0_u8; 4096];
    let Ok(length @ 1..) = flistxattr(file, &mut names) else {
        return Vec::new();
    };
    let names = names.get(..length).unwrap_or_default();
    let names = names.split(|byte| *byte == 0);
    let copied = |name: &&[u8]| COPIED.iter().any(|prefix| name.starts_with(prefix));
    let mut attributes = Vec::new();
    for name in names.filter(copied) {
        let mut value = vec![0; ATTRIBUTES];
        if let Ok(length) = fgetxattr(file, name, &mut value) {
            value.truncate(length);
            attributes.push((name.to_vec(), value));
        }
    }
    attributes
}
