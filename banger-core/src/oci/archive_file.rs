//! Files that hold images: opened, looked at, and inflated where they must be.
//!
//! Invariants: a file is read in place; what has to be inflated or drained
//! goes, within limits, to a file without a name, which is gone with its last
//! reader. Entry points: [`ArchiveFile`].

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    sync::Arc,
};

use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::{CWD, Mode, OFlags, openat};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::{
    Compression, SourceError, SourceOptions,
    members::{Duplicates, Members, unreadable},
    problem::Problem,
};
use crate::{
    domain::Digest,
    host_fs::{FileRange, IoContext as _, PathError, nameless_file},
    layer::{ArchiveError, LayerReader, RootfsLimits, Stopped},
};

/// Bytes inflated before they are written.
const BUFFER: usize = 1 << 18;

/// A file that holds an image.
#[derive(Clone, Debug)]
pub(super) struct ArchiveFile {
    /// How the source is called in messages.
    pub(super) reference: String,
    /// How the file is called in messages.
    pub(super) path: Utf8PathBuf,
    /// Where it is.
    place: Utf8PathBuf,
    /// Where files without a name are made.
    scratch: Utf8PathBuf,
}

impl ArchiveFile {
    pub(super) fn new(reference: String, path: &Utf8Path, options: &SourceOptions) -> Self {
        Self {
            reference,
            path: path.to_owned(),
            place: path.to_owned(),
            scratch: options.directories.blobs(),
        }
    }

    /// A file that is only opened.
    pub(super) fn unread(reference: String, path: &Utf8Path) -> Self {
        Self {
            reference,
            path: path.to_owned(),
            place: path.to_owned(),
            scratch: Utf8PathBuf::new(),
        }
    }

    /// The same of a file that was brought to `place`, if it was.
    pub(super) fn brought_to(self, place: Option<&Utf8PathBuf>) -> Self {
        match place.cloned() {
            Some(place) => Self { place, ..self },
            None => self,
        }
    }

    /// Opens the file and finds its members; inflates it if need be.
    pub(super) fn members(
        &self,
        duplicates: Duplicates,
        cancel: &CancellationToken,
    ) -> Result<Members, SourceError> {
        let file = self.open()?;
        let plain = match self.compression(&file, "it")? {
            Compression::None => file,
            compression => self.inflate(&file, compression, cancel)?,
        };
        Members::read(plain, duplicates, cancel).map_err(|problem| self.refused(problem))
    }

    /// Opens the file. A pipe in its place is refused, not waited for.
    pub(super) fn open(&self) -> Result<FileRange, SourceError> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(CWD, self.place.as_str(), flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(rustix::io::Errno::NOENT) => {
                return Err(SourceError::NotFound {
                    reference: self.reference.clone(),
                });
            }
            Err(error) => return Err(self.io(PathError::new("open", &self.path, error))),
        };
        let metadata = file.metadata().at("inspect", &self.path);
        if !metadata.map_err(|error| self.io(error))?.is_file() {
            let problem = "it is not a regular file".to_owned();
            return Err(self.refused(Problem::Unsupported(problem)));
        }
        let range = FileRange::whole(file).at("inspect", &self.path);
        range.map_err(|error| self.io(error))
    }

    /// How `bytes` are compressed, by how they begin; `what` are they, for a
    /// message.
    pub(super) fn compression(
        &self,
        bytes: &FileRange,
        what: &str,
    ) -> Result<Compression, SourceError> {
        let start = bytes.read_at_most(6).at("read", &self.path);
        match by_magic(&start.map_err(|error| self.io(error))?) {
            Ok(compression) => Ok(compression),
            Err(name) => {
                let problem = format!("{what} is compressed with {name}; decompress it first");
                Err(self.refused(Problem::Unsupported(problem)))
            }
        }
    }

    fn inflate(
        &self,
        file: &FileRange,
        compression: Compression,
        cancel: &CancellationToken,
    ) -> Result<FileRange, SourceError> {
        let limits = RootfsLimits::default();
        let reader = LayerReader::of_range(file, compression, &limits, cancel);
        let mut reader = reader
            .at("read", &self.path)
            .map_err(|error| self.io(error))?;
        self.spool(|buffer| {
            let read = reader.read(buffer);
            read.map_err(|error| self.not_inflated(error))
        })
    }

    pub(super) fn not_inflated(&self, error: io::Error) -> SourceError {
        let inner = error.get_ref();
        if inner.is_some_and(<dyn std::error::Error + Send + Sync>::is::<Stopped>) {
            return self.refused(unreadable(ArchiveError::from(error)));
        }
        self.malformed(format!("it does not inflate: {error}"))
    }

    /// Keeps what `read` gives until it gives nothing.
    pub(super) fn spool(
        &self,
        mut read: impl FnMut(&mut [u8]) -> Result<usize, SourceError>,
    ) -> Result<FileRange, SourceError> {
        let failed = |error| self.io(error);
        let mut file = nameless_file(&self.scratch).map_err(failed)?;
        let mut buffer = vec![0; BUFFER];
        loop {
            let length = read(&mut buffer)?;
            if length == 0 {
                break;
            }
            let written = file.write_all(&buffer[..length]);
            written
                .at("write a file in", &self.scratch)
                .map_err(failed)?;
        }
        let range = FileRange::whole(Arc::new(file));
        range.at("inspect a file in", &self.scratch).map_err(failed)
    }

    /// The digest of bytes as they are.
    pub(super) fn digest(
        &self,
        bytes: &FileRange,
        cancel: &CancellationToken,
    ) -> Result<Digest, SourceError> {
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; BUFFER];
        let mut reader = bytes.reader();
        loop {
            // nobody is left to hear of it
            if cancel.is_cancelled() {
                return Err(self.refused(unreadable(ArchiveError::Cancelled)));
            }
            let read = reader.read(&mut buffer).at("read", &self.path);
            match read.map_err(|error| self.io(error))? {
                0 => return Ok(Digest::from_bytes(hasher.finalize().into())),
                length => hasher.update(&buffer[..length]),
            }
        }
    }

    pub(super) fn io(&self, source: PathError) -> SourceError {
        SourceError::Io {
            reference: self.reference.clone(),
            source,
        }
    }

    pub(super) fn refused(&self, problem: Problem) -> SourceError {
        problem.of(&self.reference)
    }

    pub(super) fn malformed(&self, problem: impl Into<String>) -> SourceError {
        self.refused(Problem::Malformed(problem.into()))
    }
}

/// How bytes that begin so are compressed, or the name of a way that banger
/// does not know (RFC 1952, 2.3.1; RFC 8878, 3.1).
fn by_magic(start: &[u8]) -> Result<Compression, &'static str> {
    match start {
        [0x1f, 0x8b, ..] => Ok(Compression::Gzip),
        // a frame, or one to be skipped, as parallel compressors put first
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Compression::Zstd),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Err("xz"),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Err("bzip2"),
        _ => Ok(Compression::None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compression_shows_in_the_first_bytes() {
        let cases: [(&[u8], Result<Compression, &str>); 7] = [
            (b"", Ok(Compression::None)),
            (b"oci-la", Ok(Compression::None)),
            (b"\x1f\x8b\x08\0\0\0", Ok(Compression::Gzip)),
            (b"\x28\xb5\x2f\xfd\0\0", Ok(Compression::Zstd)),
            (b"\x50\x2a\x4d\x18\x04\0", Ok(Compression::Zstd)),
            (b"\xfd7zXZ\0", Err("xz")),
            (b"BZh91A", Err("bzip2")),
        ];
        for (start, expected) in cases {
            assert_eq!(by_magic(start), expected, "{start:?}");
        }
    }
}
