//! Directories below one directory, entered one name at a time.
//!
//! Invariants: no link is followed, whoever made it and whenever: every step
//! opens one name in an open directory. (openat2(2) would do it in one call;
//! guests may have kernels without it.)

use std::{
    ffi::{CStr, CString},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, mkdirat, openat, statat},
    io::Errno,
};

use super::TransferError;

/// What to do about directories that are not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    Make,
    Refuse,
}

/// The directories on the way to where the last entry was.
#[derive(Debug)]
pub(crate) struct Beneath<'a> {
    root: BorrowedFd<'a>,
    open: Vec<(CString, OwnedFd)>,
}

impl<'a> Beneath<'a> {
    pub(crate) const fn new(root: BorrowedFd<'a>) -> Self {
        Self {
            root,
            open: Vec::new(),
        }
    }

    /// The directory of these names; `path` is what an error names.
    pub(crate) fn enter(
        &mut self,
        names: &[CString],
        missing: Missing,
        path: &[u8],
    ) -> Result<BorrowedFd<'_>, TransferError> {
        let open = self.open.iter().zip(names);
        let common = open.take_while(|((open, _), name)| open == *name).count();
        self.open.truncate(common);
        for name in names.get(common..).unwrap_or_default() {
            let inside = self.last();
            let entered = match (open_directory(inside, name), missing) {
                (Err(Errno::NOENT), Missing::Make) => make_directory(inside, name),
                (entered, _) => entered,
            };
            let entered = entered.map_err(|errno| refusal(inside, name, errno, path))?;
            self.open.push((name.clone(), entered));
        }
        Ok(self.last())
    }

    fn last(&self) -> BorrowedFd<'_> {
        self.open.last().map_or(self.root, |(_, last)| last.as_fd())
    }
}

/// Opens a directory, and nothing else, as a place.
pub(crate) fn open_directory(inside: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(inside, name, flags, Mode::empty())
}

fn make_directory(inside: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    match mkdirat(inside, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => open_directory(inside, name),
        Err(errno) => Err(errno),
    }
}

fn refusal(inside: BorrowedFd<'_>, name: &CStr, errno: Errno, path: &[u8]) -> TransferError {
    let found = statat(inside, name, AtFlags::SYMLINK_NOFOLLOW);
    let is_link = found.is_ok_and(|found| FileType::from_raw_mode(found.st_mode).is_symlink());
    if is_link {
        let problem = "a directory of its path is a symbolic link, and links are not followed";
        return TransferError::entry(path, problem);
    }
    TransferError::file("enter the directory of", path)(errno)
}
