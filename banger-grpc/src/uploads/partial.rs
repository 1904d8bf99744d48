//! A file that is coming.
//!
//! Invariants: it is hashed as it is written; what a server that is gone had written
//! is read once more.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
};

use banger_core::{
    domain::Digest,
    host_fs::{IoContext as _, PathError},
};
use camino::{Utf8Path, Utf8PathBuf};
use sha2::{Digest as _, Sha256};

/// Bytes that are read at once.
const BUFFER: usize = 1 << 18;

/// A file that is coming, up to where it came.
#[derive(Debug)]
pub(crate) struct Partial {
    path: Utf8PathBuf,
    file: File,
    hasher: Sha256,
    length: u64,
}

impl Partial {
    /// Goes on behind `length` bytes, which are there. Holds up its thread.
    pub(super) fn open(path: &Utf8Path, length: u64) -> Result<Self, PathError> {
        let mut options = File::options();
        let options = options.read(true).append(true).create(true);
        let mut file = options.open(path).at("open", path)?;
        file.set_len(length).at("shorten", path)?;
        let (mut hasher, mut buffer) = (Sha256::new(), vec![0; BUFFER]);
        let mut read = 0;
        while read < length {
            let more = file.read(&mut buffer).at("read", path)?;
            if more == 0 {
                let error = io::Error::from(io::ErrorKind::UnexpectedEof);
                return Err(PathError::new("read", path, error));
            }
            hasher.update(&buffer[..more]);
            read += more as u64;
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            hasher,
            length,
        })
    }

    /// Takes bytes; answers how many there are now.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<u64, PathError> {
        self.file.write_all(bytes).at("write", &self.path)?;
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        Ok(self.length)
    }

    /// Whether it is that file; if so it is on the disk when this answers.
    pub(super) fn is_whole(&self, length: u64, digest: &Digest) -> Result<bool, PathError> {
        let is: [u8; 32] = self.hasher.clone().finalize().into();
        let is_whole = self.length == length && Digest::from_bytes(is) == *digest;
        if is_whole {
            self.file.sync_all().at("sync", &self.path)?;
        }
        Ok(is_whole)
    }
}
