//! Pruning the cache of blobs.
//!
//! Invariants: a blob that a pull needs (it holds a lease) or that somebody
//! downloads (the blob's lock) is never removed; neither is one that an image
//! in the records was made of, unless that is asked for. Images do not need
//! the cache: a blob that is gone is fetched again by the next pull. A crash
//! leaves a cache with fewer blobs.
//! Entry points: [`PruneRequest`], [`PrunedCache`].

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    time::{Duration, SystemTime},
};

use camino::{Utf8Path, Utf8PathBuf};

use super::LocalImageManager;
use crate::{
    ErrorKind,
    directories::Directories,
    domain::{Bytes, Digest},
    host_fs::{FileLock, IoContext as _, LockError, PathError, remove_tree_if_present},
    oci::{lease_gate, leased_blobs},
    remote::RemoteError,
    store::StoreError,
    task::off_thread,
};

/// Which blobs go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PruneRequest {
    /// Say what would go, and remove nothing.
    pub dry_run: bool,
    /// Those that images in the records were made of, too.
    pub all: bool,
    /// Only those that were fetched longer ago than this.
    pub older_than: Option<Duration>,
    /// Only as many, the oldest first, as make the cache this small.
    pub max_size: Option<Bytes>,
}

/// What a prune did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrunedCache {
    /// What went, or would go, the oldest first.
    pub removed: Vec<PrunedBlob>,
    /// Bytes of what went.
    pub freed: Bytes,
    /// Bytes of what stays.
    pub kept: Bytes,
}

/// A blob that went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrunedBlob {
    /// Its digest.
    pub digest: Digest,
    /// Its size.
    pub size: Bytes,
    /// Whether it was not whole.
    pub is_partial: bool,
}

/// The cache could not be pruned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PruneError {
    /// A file cannot be inspected or removed.
    #[error("failed to prune the cache")]
    Io(#[from] PathError),
    /// The lock could not be taken.
    #[error("failed to prune the cache")]
    Lock(#[from] LockError),
    /// The store failed.
    #[error("failed to prune the cache")]
    Store(#[from] StoreError),
    /// What a server said.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl PruneError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Remote(error) => error.kind(),
            Self::Io(error) => error.kind(),
            Self::Lock(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }
}

pub(super) async fn prune(
    manager: &LocalImageManager,
    request: PruneRequest,
) -> Result<PrunedCache, PruneError> {
    let directories = manager.options.directories.clone();
    let gate = lease_gate(&directories).await?;
    // before the records: a pull makes its record, and then ends its lease
    let mut needed = leased_blobs(&directories)?;
    if !request.all {
        let images = manager.options.store.images().await?;
        needed.extend(images.into_iter().flat_map(|image| image.disk.layers));
    }
    let now = manager.options.clock.now();
    off_thread(move || {
        let _gate = gate;
        let before = request.older_than.map(|age| now.checked_sub(age));
        Pruning {
            directories: &directories,
            needed,
            // a time before all times has nothing before it
            before: before.map(|time| time.unwrap_or(SystemTime::UNIX_EPOCH)),
            request: &request,
        }
        .prune()
    })
    .await
}

struct Pruning<'a> {
    directories: &'a Directories,
    needed: HashSet<Digest>,
    before: Option<SystemTime>,
    request: &'a PruneRequest,
}

/// The files of one blob.
#[derive(Debug)]
struct Cached {
    files: Vec<Utf8PathBuf>,
    size: u64,
    modified: SystemTime,
    is_whole: bool,
}

impl Pruning<'_> {
    fn prune(&self) -> Result<PrunedCache, PruneError> {
        let cached = cached(&self.directories.blobs())?;
        let mut left: u64 = cached.values().map(|blob| blob.size).sum();
        let mut oldest: Vec<_> = cached.iter().filter(|blob| self.may_go(*blob)).collect();
        oldest.sort_by_key(|(digest, blob)| (blob.modified, digest.to_hex()));
        let mut report = PrunedCache::default();
        let mut freed = 0;
        for (digest, blob) in oldest {
            let is_small_enough = |limit: Bytes| left <= limit.get();
            if self.request.max_size.is_some_and(is_small_enough) {
                break;
            }
            if !self.request.dry_run && !self.remove(digest, blob)? {
                continue;
            }
            left -= blob.size;
            freed += blob.size;
            // a lock alone is nothing to tell of
            if blob.is_whole || blob.size != 0 {
                report.removed.push(PrunedBlob {
                    digest: *digest,
                    size: Bytes::new(blob.size),
                    is_partial: !blob.is_whole,
                });
            }
        }
        report.freed = Bytes::new(freed);
        report.kept = Bytes::new(left);
        Ok(report)
    }

    fn may_go(&self, (digest, blob): (&Digest, &Cached)) -> bool {
        let is_old = |before: SystemTime| blob.modified < before;
        !self.needed.contains(digest) && self.before.is_none_or(is_old)
    }

    /// Removes a blob's files, unless somebody downloads it: older versions of
    /// banger do so without a lease.
    fn remove(&self, digest: &Digest, blob: &Cached) -> Result<bool, PathError> {
        let lock = self.directories.blob(digest).with_extension("lock");
        let Some(_lock) = FileLock::try_acquire(&lock)? else {
            return Ok(false);
        };
        for file in &blob.files {
            remove_tree_if_present(file)?;
        }
        remove_tree_if_present(&lock)?;
        Ok(true)
    }
}

/// What lies in the cache; files that are not ours to name are left alone.
fn cached(directory: &Utf8Path) -> Result<BTreeMap<Digest, Cached>, PathError> {
    let mut found: BTreeMap<Digest, Cached> = BTreeMap::new();
    if !directory.exists() {
        return Ok(found);
    }
    for entry in directory.read_dir_utf8().at("read directory", directory)? {
        let path = entry.at("read directory", directory)?.into_path();
        let digest = path
            .file_stem()
            .and_then(|stem| format!("sha256:{stem}").parse().ok());
        let is_ours = matches!(path.extension(), None | Some("partial" | "lock"));
        let (Some(digest), true) = (digest, is_ours) else {
            continue;
        };
        // it may be published, and so renamed, meanwhile
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue;
        };
        let modified = metadata.modified().at("inspect", &path)?;
        let blob = found.entry(digest).or_insert_with(|| Cached {
            files: Vec::new(),
            size: 0,
            modified,
            is_whole: false,
        });
        blob.size += metadata.len();
        blob.is_whole |= path.extension().is_none();
        blob.modified = blob.modified.max(modified);
        blob.files.push(path);
    }
    Ok(found)
}
