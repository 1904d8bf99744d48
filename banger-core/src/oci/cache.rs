//! The cache of verified blobs, shared by all processes of a user.
//!
//! Invariants: a file under a blob's own name is whole and was verified when
//! it was published; bytes on their way lie in `<digest>.partial`, touched
//! only by the holder of the blob's lock; publishing is a rename after digest
//! and length matched and the bytes were synced.

use std::{fs, io::Read as _};

use camino::Utf8PathBuf;
use sha2::{Digest as _, Sha256};
use tokio::{fs::File, io::AsyncWriteExt as _};

use super::document::Blob;
use crate::{
    directories::Directories,
    domain::{Bytes, Digest},
    host_fs::{FileLock, IoContext as _, LockError, PathError, create_directory, sync_directory},
    task::off_thread,
};

/// How long to wait for another process that downloads the same blob.
const DOWNLOAD_DEADLINE: std::time::Duration = std::time::Duration::from_hours(1);

/// Blobs by digest.
#[derive(Clone, Debug)]
pub(super) struct BlobCache {
    directories: Directories,
}

impl BlobCache {
    pub(super) const fn new(directories: Directories) -> Self {
        Self { directories }
    }

    /// The blob's file, when it is cached. Its length is compared; its bytes
    /// were verified before it got its name, and the reader of a layer
    /// verifies what it reads once more.
    pub(super) fn find(&self, blob: &Blob) -> Option<Utf8PathBuf> {
        let path = self.directories.blob(&blob.digest);
        let metadata = fs::symlink_metadata(&path).ok()?;
        (metadata.is_file() && metadata.len() == blob.size.get()).then_some(path)
    }

    /// The right to download a blob; waits while another process does.
    pub(super) async fn lock(&self, digest: &Digest) -> Result<FileLock, LockError> {
        let path = self
            .directories
            .blobs()
            .join(format!("{}.lock", digest.to_hex()));
        FileLock::acquire(&path, DOWNLOAD_DEADLINE).await
    }

    /// The partial download of a blob, continued where it was left. The caller
    /// holds the blob's lock.
    pub(super) async fn partial(&self, blob: Blob) -> Result<Partial, PathError> {
        create_directory(&self.directories.blobs())?;
        let target = self.directories.blob(&blob.digest);
        let path = target.with_extension("partial");
        let hashing = path.clone();
        let (file, hasher, length) = off_thread(move || open_partial(&hashing)).await?;
        Ok(Partial {
            file: File::from_std(file),
            path,
            target,
            hasher,
            length,
            blob,
        })
    }
}

/// Opens (or makes) a partial file and hashes what it holds already.
fn open_partial(path: &Utf8PathBuf) -> Result<(fs::File, Sha256, u64), PathError> {
    let mut options = fs::OpenOptions::new();
    let opened = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path);
    let mut file = opened.at("open", path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    let mut length = 0;
    loop {
        let read = file.read(&mut buffer).at("read", path)?;
        if read == 0 {
            return Ok((file, hasher, length));
        }
        hasher.update(&buffer[..read]);
        length += read as u64;
    }
}

/// A blob on its way. Dropping it keeps the bytes for the next attempt.
pub(super) struct Partial {
    file: File,
    path: Utf8PathBuf,
    target: Utf8PathBuf,
    hasher: Sha256,
    length: u64,
    blob: Blob,
}

/// Why a download did not become a blob.
#[derive(Debug)]
pub(super) enum PartialError {
    /// The bytes are not those of the digest, or of another length.
    Corrupt(String),
    Io(PathError),
}

impl From<PathError> for PartialError {
    fn from(error: PathError) -> Self {
        Self::Io(error)
    }
}

impl Partial {
    /// Bytes so far.
    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    /// Forgets all bytes.
    pub(super) async fn restart(&mut self) -> Result<(), PathError> {
        self.file.set_len(0).await.at("truncate", &self.path)?;
        tokio::io::AsyncSeekExt::rewind(&mut self.file)
            .await
            .at("rewind", &self.path)?;
        self.hasher = Sha256::new();
        self.length = 0;
        Ok(())
    }

    /// Adds bytes; more than were announced are refused and everything is
    /// forgotten.
    pub(super) async fn append(&mut self, bytes: &[u8]) -> Result<(), PartialError> {
        if self.blob.size.get() < self.length + bytes.len() as u64 {
            self.restart().await?;
            return Err(PartialError::Corrupt(format!(
                "it is longer than the announced {}",
                self.blob.size
            )));
        }
        self.file.write_all(bytes).await.at("write", &self.path)?;
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Makes the bytes settle, so that a later attempt finds them.
    pub(super) async fn flush(&mut self) -> Result<(), PathError> {
        self.file.flush().await.at("write", &self.path)
    }

    /// Whether all announced bytes are there.
    pub(super) fn is_complete(&self) -> bool {
        self.length == self.blob.size.get()
    }

    /// Verifies the bytes and gives them the blob's name.
    pub(super) async fn publish(mut self) -> Result<Utf8PathBuf, PartialError> {
        self.flush().await?;
        let actual = Digest::from_bytes(std::mem::take(&mut self.hasher).finalize().into());
        if actual != self.blob.digest || !self.is_complete() {
            let length = Bytes::new(self.length);
            self.restart().await?;
            return Err(PartialError::Corrupt(format!(
                "its {length} have digest {actual}"
            )));
        }
        self.file.sync_all().await.at("sync", &self.path)?;
        tokio::fs::rename(&self.path, &self.target)
            .await
            .at("publish", &self.target)?;
        if let Some(directory) = self.target.parent() {
            sync_directory(directory)?;
        }
        Ok(self.target)
    }
}

#[cfg(test)]
mod tests {
    use camino::Utf8Path;

    use super::*;

    fn cache(scratch: &tempfile::TempDir) -> BlobCache {
        let root = Utf8Path::from_path(scratch.path()).unwrap();
        let directories = Directories {
            state: root.join("s"),
            cache: root.join("c"),
            runtime: root.join("r"),
        };
        BlobCache::new(directories)
    }

    fn blob(content: &[u8]) -> Blob {
        Blob {
            digest: Digest::of(content),
            size: Bytes::new(content.len() as u64),
        }
    }

    #[tokio::test]
    async fn an_interrupted_download_goes_on_where_it_was_left() {
        let scratch = tempfile::tempdir().unwrap();
        let (cache, blob) = (cache(&scratch), blob(b"hello world"));
        let mut first = cache.partial(blob).await.unwrap();
        first.append(b"hello ").await.unwrap();
        first.flush().await.unwrap();
        drop(first);
        let mut second = cache.partial(blob).await.unwrap();
        assert_eq!(second.length(), 6);
        second.append(b"world").await.unwrap();
        assert_eq!(cache.find(&blob), None);
        let path = second.publish().await.unwrap();
        assert_eq!(cache.find(&blob), Some(path.clone()));
        assert_eq!(fs::read(path).unwrap(), b"hello world");
    }

    #[tokio::test]
    async fn wrong_and_overlong_bytes_are_forgotten_and_never_published() {
        let scratch = tempfile::tempdir().unwrap();
        let (cache, blob) = (cache(&scratch), blob(b"right"));
        let mut partial = cache.partial(blob).await.unwrap();
        partial.append(b"wrong").await.unwrap();
        assert!(matches!(
            partial.publish().await,
            Err(PartialError::Corrupt(_))
        ));
        let mut partial = cache.partial(blob).await.unwrap();
        assert_eq!(partial.length(), 0);
        assert!(matches!(
            partial.append(b"righter").await,
            Err(PartialError::Corrupt(_))
        ));
        assert_eq!(partial.length(), 0);
        partial.append(b"righ").await.unwrap();
        assert!(matches!(
            partial.publish().await,
            Err(PartialError::Corrupt(_))
        ));
        assert_eq!(cache.find(&blob), None);
    }
}
