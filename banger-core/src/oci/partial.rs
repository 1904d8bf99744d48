//! A blob on its way into the cache.
//!
//! Invariants: the file is written, hashed and published by one holder of the
//! blob's lock; the lock outlives every write, even one whose caller gave up;
//! what is published is what was hashed.

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, Write as _},
    sync::Arc,
};

use camino::{Utf8Path, Utf8PathBuf};
use sha2::{Digest as _, Sha256};

use super::{arrival::ArrivalFeed, document::Blob};
use crate::{
    domain::Digest,
    host_fs::{FileLock, IoContext as _, PathError, sync_directory},
    step::reached,
    sys::write_back::begin_write_back,
    task::off_thread,
};

/// Bytes that are collected before they are written.
const BUFFER: usize = 1 << 18;

/// Bytes whose writing to the device begins together.
const WRITE_BACK: u64 = 8 << 20;

/// A partial download. Dropping it keeps the written bytes for the next
/// attempt.
pub(super) struct Partial {
    file: Option<PartialFile>,
    path: Utf8PathBuf,
    buffer: Vec<u8>,
    length: u64,
    /// Whether bytes of an earlier download are among them.
    is_resumed: bool,
    blob: Blob,
    /// Shows the written bytes to those who wait for them.
    feed: Arc<ArrivalFeed>,
}

/// What moves to the threads that may wait for a disk.
struct PartialFile {
    file: File,
    hasher: Sha256,
    /// Bytes of the file, and those that are on their way to the device.
    length: u64,
    on_their_way: u64,
    path: Utf8PathBuf,
    target: Utf8PathBuf,
    _lock: Arc<FileLock>,
}

/// Why a download did not become a blob.
#[derive(Debug)]
pub(super) enum PartialError {
    /// The bytes are not those of the digest, or of another length.
    Corrupt {
        problem: String,
        /// Whether another attempt can end otherwise.
        may_pass: bool,
    },
    Io(PathError),
}

impl From<PathError> for PartialError {
    fn from(error: PathError) -> Self {
        Self::Io(error)
    }
}

impl Partial {
    /// Where the bytes of `target` lie until they are whole.
    pub(super) fn path(target: &Utf8Path) -> Utf8PathBuf {
        target.with_extension("partial")
    }

    /// Opens (or makes) the partial file of `target` and reads what it holds.
    pub(super) async fn open(
        target: Utf8PathBuf,
        blob: Blob,
        lock: Arc<FileLock>,
        feed: Arc<ArrivalFeed>,
    ) -> Result<Self, PathError> {
        let path = Self::path(&target);
        let limit = blob.size.get();
        let (file, length) = off_thread(move || PartialFile::open(target, limit, lock)).await?;
        feed.begin(file.file.try_clone().at("open", &path)?, length);
        Ok(Self {
            file: Some(file),
            path,
            buffer: Vec::new(),
            length,
            is_resumed: length != 0,
            blob,
            feed,
        })
    }

    /// Bytes so far.
    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    /// Whether all announced bytes are there.
    pub(super) fn is_complete(&self) -> bool {
        self.length == self.blob.size.get()
    }

    /// Forgets all bytes.
    pub(super) async fn restart(&mut self) -> Result<(), PathError> {
        self.buffer.clear();
        self.length = 0;
        self.is_resumed = false;
        self.feed.show(0);
        self.on_thread(PartialFile::clear).await
    }

    /// Adds bytes; more than were announced are refused and everything is
    /// forgotten.
    pub(super) async fn append(&mut self, bytes: &[u8]) -> Result<(), PartialError> {
        let length = self.length + bytes.len() as u64;
        if self.blob.size.get() < length {
            let problem = format!("it is longer than the announced {}", self.blob.size);
            return Err(self.forget(problem).await?);
        }
        self.length = length;
        self.buffer.extend_from_slice(bytes);
        if BUFFER <= self.buffer.len() {
            self.flush().await?;
        }
        Ok(())
    }

    /// Writes what is collected, so that a later attempt finds it.
    pub(super) async fn flush(&mut self) -> Result<(), PathError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let mut bytes = std::mem::take(&mut self.buffer);
        let written = self.on_thread(move |file| {
            file.append(&bytes)?;
            bytes.clear();
            Ok(bytes)
        });
        // its memory is used again
        self.buffer = written.await?;
        self.feed.show(self.length);
        Ok(())
    }

    /// Verifies the bytes and gives them the blob's name.
    pub(super) async fn publish(mut self) -> Result<(), PartialError> {
        self.flush().await?;
        if !self.is_complete() {
            let (there, all) = (self.length, self.blob.size.get());
            return Err(PartialError::Corrupt {
                problem: format!("the server sent {there} of {all} bytes"),
                may_pass: true,
            });
        }
        let actual = self.on_thread(|file| Ok(file.digest())).await?;
        if actual != self.blob.digest {
            let problem = format!("its bytes have digest {actual}");
            return Err(self.forget(problem).await?);
        }
        Ok(self.on_thread(PartialFile::publish).await?)
    }

    /// Drops wrong bytes. When some were kept from an earlier download, those
    /// may have been the wrong ones.
    async fn forget(&mut self, problem: String) -> Result<PartialError, PathError> {
        let may_pass = self.is_resumed;
        self.restart().await?;
        Ok(PartialError::Corrupt { problem, may_pass })
    }

    /// Does `work` where it may hold its thread up. When the caller gives up
    /// meanwhile, the file goes on to hold the lock until the work is done.
    async fn on_thread<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut PartialFile) -> Result<T, PathError> + Send + 'static,
    ) -> Result<T, PathError> {
        let mut file = self.file.take().ok_or_else(|| ended(&self.path))?;
        let (file, done) = off_thread(move || {
            let done = work(&mut file);
            (file, done)
        })
        .await;
        self.file = Some(file);
        done
    }
}

impl PartialFile {
    fn open(
        target: Utf8PathBuf,
        limit: u64,
        lock: Arc<FileLock>,
    ) -> Result<(Self, u64), PathError> {
        let path = Partial::path(&target);
        let mut options = fs::OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut partial = Self {
            file: options.open(&path).at("open", &path)?,
            hasher: Sha256::new(),
            length: 0,
            on_their_way: 0,
            path,
            target,
            _lock: lock,
        };
        let length = partial.file.metadata().at("inspect", &partial.path)?.len();
        if limit < length {
            partial.clear()?;
            return Ok((partial, 0));
        }
        reached("made the file of a download");
        partial.hash_all()?;
        let length = partial.length;
        Ok((partial, length))
    }

    fn hash_all(&mut self) -> Result<(), PathError> {
        let mut buffer = vec![0; BUFFER];
        loop {
            let read = self.file.read(&mut buffer).at("read", &self.path)?;
            if read == 0 {
                return Ok(());
            }
            self.hasher.update(&buffer[..read]);
            self.length += read as u64;
        }
    }

    fn clear(&mut self) -> Result<(), PathError> {
        self.file.set_len(0).at("truncate", &self.path)?;
        self.file.rewind().at("rewind", &self.path)?;
        self.hasher = Sha256::new();
        (self.length, self.on_their_way) = (0, 0);
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), PathError> {
        self.file.write_all(bytes).at("write", &self.path)?;
        reached("wrote a piece of a download");
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        let waiting = self.length - self.on_their_way;
        if WRITE_BACK <= waiting {
            begin_write_back(&self.file, self.on_their_way, waiting);
            self.on_their_way = self.length;
        }
        Ok(())
    }

    fn digest(&self) -> Digest {
        Digest::from_bytes(self.hasher.clone().finalize().into())
    }

    fn publish(&mut self) -> Result<(), PathError> {
        self.file.sync_all().at("sync", &self.path)?;
        reached("flushed a download");
        fs::rename(&self.path, &self.target).at("publish", &self.target)?;
        reached("gave a blob its name");
        self.target.parent().map_or(Ok(()), sync_directory)
    }
}

fn ended(path: &Utf8Path) -> PathError {
    PathError::new(
        "write",
        path,
        io::Error::other("the writing thread ended early"),
    )
}
