//! Files that appear whole.
//!
//! Invariants: what has the final name is the old file or the whole new one; a
//! process that is killed leaves no half file where the file system has files
//! without a name, and one with a name of ours elsewhere.

use std::{
    ffi::{CStr, CString},
    fs::File,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, linkat, openat, renameat, unlinkat},
    io::Errno,
    rand::{GetRandomFlags, getrandom},
};

/// How names begin that only last until a file is whole.
const TEMPORARY: &str = ".banger-";
/// How often a name of ours may turn out to be taken.
const ATTEMPTS: usize = 8;

/// A file that has not got its name yet.
#[derive(Debug)]
pub(crate) struct Draft<'d> {
    pub(crate) file: File,
    directory: BorrowedFd<'d>,
    /// None while it has none at all.
    name: Option<CString>,
}

impl<'d> Draft<'d> {
    pub(crate) fn new(directory: BorrowedFd<'d>) -> Result<Self, Errno> {
        let mode = Mode::RUSR | Mode::WUSR;
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        if let Ok(file) = openat(directory, c".", flags | OFlags::TMPFILE, mode) {
            return Ok(Self {
                file: file.into(),
                directory,
                name: None,
            });
        }
        let name = temporary_name()?;
        let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let file = openat(directory, &name, flags, mode)?;
        Ok(Self {
            file: file.into(),
            directory,
            name: Some(name),
        })
    }

    /// Gives it its name, in place of what has that name now.
    pub(crate) fn publish(mut self, name: &CStr) -> Result<(), Errno> {
        if let Some(temporary) = &self.name {
            renameat(self.directory, temporary, self.directory, name)?;
            self.name = None;
            return Ok(());
        }
        let source = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        place(self.directory, name, |name| {
            linkat(CWD, &source, self.directory, name, AtFlags::SYMLINK_FOLLOW)
        })
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // a name that stays says what it is
            let _ = unlinkat(self.directory, name, AtFlags::empty());
        }
    }
}

/// Makes something that is no directory under a name, in place of what has that
/// name now. `make` fails with EEXIST when a name is taken.
pub(crate) fn place(
    directory: BorrowedFd<'_>,
    name: &CStr,
    make: impl Fn(&CStr) -> Result<(), Errno>,
) -> Result<(), Errno> {
    match make(name) {
        Err(Errno::EXIST) => {}
        settled => return settled,
    }
    for _ in 0..ATTEMPTS {
        let temporary = temporary_name()?;
        match make(&temporary) {
            Err(Errno::EXIST) => continue,
            settled => settled?,
        }
        let renamed = renameat(directory, &temporary, directory, name);
        // still there after a failure, and when both names are of one file
        let _ = unlinkat(directory, &temporary, AtFlags::empty());
        return renamed;
    }
    Err(Errno::EXIST)
}

fn temporary_name() -> Result<CString, Errno> {
    let mut random = [0; 8];
    getrandom(&mut random, GetRandomFlags::empty())?;
    let name = format!("{TEMPORARY}{:016x}", u64::from_ne_bytes(random));
    CString::new(name).map_err(|_| Errno::INVAL)
}
