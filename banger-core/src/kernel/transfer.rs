//! Moving bytes from a source to a host file, with a limit and a way out.
//!
//! Purpose: every copy of an import goes through here. Invariants: a copy ends
//! soon after its caller gave up; what does not come from the source intact is
//! the source's fault, what cannot be written is the host's.
//! Entry points: [`Attended`], [`pour`], [`write_new_file`].

use std::{
    fs::File,
    io::{self, Read, Write},
};

use camino::Utf8Path;
use tokio_util::sync::CancellationToken;

use super::{fault::Fault, inflate::Limited};
use crate::host_fs::{IoContext as _, PathError};

const BUFFER_LENGTH: usize = 256 << 10;

/// A reader that fails once nobody waits for the result.
#[derive(Debug)]
pub(crate) struct Attended<R> {
    source: R,
    cancelled: CancellationToken,
}

impl<R> Attended<R> {
    pub(crate) const fn new(source: R, cancelled: CancellationToken) -> Self {
        Self { source, cancelled }
    }
}

impl<R: Read> Read for Attended<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancelled.is_cancelled() {
            return Err(io::Error::other("the import was given up"));
        }
        self.source.read(buffer)
    }
}

/// Copies all of `source`, at most `limit` bytes, to the sink at `path`, and
/// answers how many there were.
pub(crate) fn pour(
    source: impl Read,
    sink: &mut impl Write,
    path: &Utf8Path,
    limit: u64,
) -> Result<u64, Fault> {
    let mut source = Limited::new(source, limit);
    let mut buffer = vec![0; BUFFER_LENGTH];
    let mut total = 0;
    loop {
        let read = match source.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Fault::malformed(error.to_string())),
        };
        sink.write_all(&buffer[..read]).at("write", path)?;
        total += read as u64;
    }
}

/// Writes all of `source`, at most `limit` bytes, to a file at `path` that
/// must not exist. The file is not synced.
pub(crate) fn write_new_file(source: impl Read, path: &Utf8Path, limit: u64) -> Result<u64, Fault> {
    let mut file = File::create_new(path).at("create", path)?;
    pour(source, &mut file, path, limit)
}

/// Flushes the whole file system that holds `directory`: one call for
/// thousands of small files.
pub(crate) fn sync_file_system(directory: &Utf8Path) -> Result<(), PathError> {
    let file = File::open(directory).at("open", directory)?;
    rustix::fs::syncfs(file).at("sync the file system of", directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_ends_when_nobody_waits() {
        let cancelled = CancellationToken::new();
        let mut sink = Vec::new();
        let mut copy = || {
            let source = Attended::new(&b"bytes"[..], cancelled.clone());
            pour(source, &mut sink, Utf8Path::new("sink"), 5)
        };
        assert_eq!(copy().unwrap(), 5);
        cancelled.cancel();
        assert!(matches!(copy(), Err(Fault::Malformed(_))));
    }
}
