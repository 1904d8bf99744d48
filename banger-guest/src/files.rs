//! Reading small files that others wrote.
//!
//! Purpose: the image's files (`/etc/passwd`, `/etc/hosts`) are untrusted: one
//! may be a pipe that never answers or as large as the disk. Invariants: a read
//! neither waits nor exceeds its limit.
//! Entry point: [`read`].

use std::{
    fs::File,
    io::{self, Read as _},
    os::fd::OwnedFd,
    path::Path,
};

use rustix::fs::{CWD, Mode, OFlags};

/// Most bytes read of one file.
const LIMIT: u64 = 4 << 20;

/// The whole content of a regular file of at most 4 MiB.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let mut content = Vec::new();
    file.take(LIMIT + 1).read_to_end(&mut content)?;
    if LIMIT < content.len() as u64 {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(content)
}

fn open(path: &Path) -> io::Result<File> {
    // NONBLOCK: opening a pipe must not wait for its writer
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let descriptor: OwnedFd = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
    let file = File::from(descriptor);
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_directories_and_missing_files_are_refused_at_once() {
        assert_eq!(
            read(Path::new("/dev/zero")).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
        assert_eq!(
            read(Path::new("/")).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
        assert_eq!(
            read(Path::new("/nonexistent")).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }

    #[test]
    fn a_file_over_the_limit_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(LIMIT).unwrap();
        assert_eq!(read(file.path()).unwrap().len() as u64, LIMIT);
        file.as_file().set_len(LIMIT + 1).unwrap();
        assert_eq!(
            read(file.path()).unwrap_err().kind(),
            io::ErrorKind::FileTooLarge
        );
    }
}
