//! The cache of verified blobs, shared by all processes of a user.
//!
//! Invariants: a file under a blob's own name is whole and was verified when
//! it was published; bytes on their way lie in `<digest>.partial`, touched
//! only by the holder of the blob's lock; publishing is a rename after digest
//! and length matched and the bytes were synced.

use std::{fs, sync::Arc, time::Duration};

use camino::Utf8PathBuf;

use super::{arrival::ArrivalFeed, document::Blob, partial::Partial};
use crate::{
    directories::Directories,
    domain::Digest,
    host_fs::{FileLock, LockError, PathError},
};

/// How long to wait for another process that downloads the same blob.
const DOWNLOAD_DEADLINE: Duration = Duration::from_hours(1);

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
        let path = self.path(blob);
        let metadata = fs::symlink_metadata(&path).ok()?;
        (metadata.is_file() && metadata.len() == blob.size.get()).then_some(path)
    }

    /// Where the blob is when it is cached.
    pub(super) fn path(&self, blob: &Blob) -> Utf8PathBuf {
        self.directories.blob(&blob.digest)
    }

    /// The right to download a blob; waits while another process does.
    pub(super) async fn lock(&self, digest: &Digest) -> Result<Arc<FileLock>, LockError> {
        let path = self.directories.blob(digest).with_extension("lock");
        FileLock::acquire(&path, DOWNLOAD_DEADLINE)
            .await
            .map(Arc::new)
    }

    /// The partial download of a blob, continued where it was left, and shown
    /// to those who read it meanwhile.
    pub(super) async fn partial(
        &self,
        blob: Blob,
        lock: Arc<FileLock>,
        feed: Arc<ArrivalFeed>,
    ) -> Result<Partial, PathError> {
        Partial::open(self.path(&blob), blob, lock, feed).await
    }

    /// Bytes of a partial download, 0 when there is none.
    pub(super) fn partial_length(&self, blob: &Blob) -> u64 {
        let path = Partial::path(&self.path(blob));
        fs::metadata(path).map_or(0, |metadata| metadata.len())
    }
}

#[cfg(test)]
mod tests {
    use camino::Utf8Path;

    use super::{
        super::{arrival::arrival, partial::PartialError},
        *,
    };
    use crate::domain::Bytes;

    struct World {
        cache: BlobCache,
        blob: Blob,
        lock: Arc<FileLock>,
        _scratch: tempfile::TempDir,
    }

    impl World {
        async fn new(content: &[u8]) -> Self {
            let scratch = tempfile::tempdir().unwrap();
            let root = Utf8Path::from_path(scratch.path()).unwrap();
            let cache = BlobCache::new(Directories {
                state: root.join("s"),
                cache: root.join("c"),
                runtime: root.join("r"),
            });
            let blob = Blob {
                digest: Digest::of(content),
                size: Bytes::new(content.len() as u64),
            };
            Self {
                lock: cache.lock(&blob.digest).await.unwrap(),
                cache,
                blob,
                _scratch: scratch,
            }
        }

        async fn partial(&self) -> Partial {
            let (_, feed) = arrival(self.cache.path(&self.blob), self.blob.size);
            let partial = self
                .cache
                .partial(self.blob, Arc::clone(&self.lock), Arc::new(feed));
            partial.await.unwrap()
        }

        async fn with(&self, content: &'static [u8]) -> Result<(), PartialError> {
            let mut partial = self.partial().await;
            partial.append(content).await?;
            partial.publish().await
        }
    }

    /// Whether a failed attempt is worth another one.
    fn may_pass(failed: Result<(), PartialError>) -> bool {
        match failed.unwrap_err() {
            PartialError::Corrupt { may_pass, .. } => may_pass,
            PartialError::Io(error) => panic!("{error}"),
        }
    }

    #[tokio::test]
    async fn an_interrupted_download_goes_on_where_it_was_left() {
        let world = World::new(b"hello world").await;
        let mut first = world.partial().await;
        first.append(b"hello ").await.unwrap();
        first.flush().await.unwrap();
        drop(first);
        assert_eq!(world.cache.partial_length(&world.blob), 6);
        let mut second = world.partial().await;
        assert_eq!(second.length(), 6);
        second.append(b"world").await.unwrap();
        assert_eq!(world.cache.find(&world.blob), None);
        second.publish().await.unwrap();
        let path = world.cache.find(&world.blob).unwrap();
        assert_eq!(fs::read(path).unwrap(), b"hello world");
    }

    #[tokio::test]
    async fn wrong_and_overlong_bytes_are_forgotten_and_never_published() {
        let world = World::new(b"right").await;
        for content in [&b"wrong"[..], b"righter"] {
            assert!(!may_pass(world.with(content).await), "{content:?}");
            assert_eq!(world.cache.partial_length(&world.blob), 0, "{content:?}");
        }
        assert_eq!(world.cache.find(&world.blob), None);
    }

    #[tokio::test]
    async fn short_bytes_wait_for_the_rest() {
        let world = World::new(b"right").await;
        assert!(may_pass(world.with(b"rig").await));
        assert_eq!(world.cache.find(&world.blob), None);
        world.with(b"ht").await.unwrap();
        assert!(world.cache.find(&world.blob).is_some());
    }

    #[tokio::test]
    async fn wrong_bytes_of_an_earlier_download_are_fetched_anew() {
        let world = World::new(b"right").await;
        assert!(may_pass(world.with(b"wr").await));
        assert!(may_pass(world.with(b"ght").await));
        world.with(b"right").await.unwrap();
    }

    #[tokio::test]
    async fn a_partial_file_longer_than_its_blob_is_dropped() {
        let world = World::new(b"right").await;
        let path = Partial::path(&world.cache.directories.blob(&world.blob.digest));
        fs::write(&path, "much too long").unwrap();
        assert_eq!(world.partial().await.length(), 0);
        assert_eq!(fs::metadata(path).unwrap().len(), 0);
    }
}
