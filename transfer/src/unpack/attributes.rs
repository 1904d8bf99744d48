//! Owners, modes, times and extended attributes.

use std::{
    ffi::CStr,
    fs::File,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use rustix::{
    fs::{
        AtFlags, CWD, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, chmodat,
        chownat, fchmod, fchown, fsetxattr, futimens, setxattr, utimensat,
    },
    io::Errno,
};

use super::{Origin, Owners, Unpacking};
use crate::{TransferError, archive::Entry};

/// Bits that make a program run as another user or group.
const SET_IDS: u32 = 0o6000;

/// What a file's mode becomes.
pub(super) fn mode(entry: &Entry, unpacking: &Unpacking) -> Mode {
    let foreign = unpacking.origin == Origin::Untrusted && unpacking.owners == Owners::Receiver;
    let dropped = if foreign { SET_IDS } else { 0 };
    Mode::from_raw_mode(entry.mode & !dropped)
}

/// Everything about a file whose content is written.
pub(super) fn settle_file(
    file: &File,
    entry: &Entry,
    unpacking: &Unpacking,
) -> Result<(), TransferError> {
    let path = &entry.path;
    if unpacking.owners == Owners::Archive {
        let owned = fchown(
            file,
            Some(Uid::from_raw(entry.uid)),
            Some(Gid::from_raw(entry.gid)),
        );
        owned.map_err(TransferError::file("give away", path))?;
        for (name, value) in &entry.attributes {
            let set = fsetxattr(file, name.as_slice(), value, XattrFlags::empty());
            tolerate(set).map_err(TransferError::file("set attributes of", path))?;
        }
    }
    // last: a new owner takes the set-id bits away
    let changed = fchmod(file, mode(entry, unpacking));
    changed.map_err(TransferError::file("set the mode of", path))?;
    futimens(file, &times(entry)).map_err(TransferError::file("set the time of", path))
}

/// Everything about a directory that is open as a place.
pub(super) fn settle_directory(
    place: BorrowedFd<'_>,
    entry: &Entry,
    unpacking: &Unpacking,
) -> Result<(), TransferError> {
    let path = &entry.path;
    let opened = format!("/proc/self/fd/{}", place.as_raw_fd());
    if unpacking.owners == Owners::Archive {
        own(place, c"", entry, AtFlags::EMPTY_PATH)?;
        for (name, value) in &entry.attributes {
            let set = setxattr(&opened, name.as_slice(), value, XattrFlags::empty());
            tolerate(set).map_err(TransferError::file("set attributes of", path))?;
        }
    }
    let changed = chmodat(CWD, &opened, mode(entry, unpacking), AtFlags::empty());
    changed.map_err(TransferError::file("set the mode of", path))?;
    let timed = utimensat(CWD, &opened, &times(entry), AtFlags::empty());
    timed.map_err(TransferError::file("set the time of", path))
}

/// The owner and the time of what has no content: a link, a fifo, a device.
pub(super) fn settle_other(
    place: BorrowedFd<'_>,
    name: &CStr,
    entry: &Entry,
    unpacking: &Unpacking,
) -> Result<(), TransferError> {
    if unpacking.owners == Owners::Archive {
        own(place, name, entry, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    let timed = utimensat(place, name, &times(entry), AtFlags::SYMLINK_NOFOLLOW);
    timed.map_err(TransferError::file("set the time of", &entry.path))
}

fn own(
    place: BorrowedFd<'_>,
    name: &CStr,
    entry: &Entry,
    flags: AtFlags,
) -> Result<(), TransferError> {
    let (user, group) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    let owned = chownat(place, name, Some(user), Some(group), flags);
    owned.map_err(TransferError::file("give away", &entry.path))
}

/// A file system without extended attributes takes the file without them.
fn tolerate(set: Result<(), Errno>) -> Result<(), Errno> {
    match set {
        Err(Errno::OPNOTSUPP) => Ok(()),
        set => set,
    }
}

fn times(entry: &Entry) -> Timestamps {
    let (seconds, nanoseconds) = entry.modified;
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: seconds,
            tv_nsec: nanoseconds.into(),
        },
    }
}
