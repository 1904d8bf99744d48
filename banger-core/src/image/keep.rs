//! Keeping an image: its name's lock, its staging directory, its publication.
//!
//! Invariants: nothing is published before it is whole; publication runs to
//! its end even when the caller is gone, and leaves a directory with a record
//! or neither. What a crash leaves, the next reconcile removes.

use camino::Utf8Path;

use super::{
    LocalImageManager, PullError,
    local::{name_lock, publish_lock},
};
use crate::{
    domain::{Image, ImageId, ImageName},
    host_fs::{FileLock, LockError, PathError, Staging, remove_tree_if_present},
    store::{InsertError, StoreError},
    task::settle,
};

/// The disk's file in an image's directory.
pub(super) const ROOTFS_FILE: &str = "rootfs.ext4";

/// An image in the making, by the name that it is to have.
#[derive(Clone, Copy)]
pub(super) struct Keeper<'a> {
    pub(super) manager: &'a LocalImageManager,
    pub(super) name: &'a ImageName,
}

impl Keeper<'_> {
    /// The right to make an image of that name; waits while somebody does.
    pub(super) async fn lock_name(self) -> Result<FileLock, PullError> {
        let lock = name_lock(&self.manager.options.directories, self.name).await;
        lock.map_err(|source| PullError::Lock {
            name: self.name.clone(),
            source,
        })
    }

    /// A staging directory for an image of that id.
    pub(super) async fn stage(self, id: ImageId) -> Result<Staging, PullError> {
        let target = self.manager.options.directories.image(id);
        let staging = stage(self.manager, &target).await;
        staging.map_err(|error| self.failed(error))
    }

    /// Publishes a filled staging directory and records its image.
    pub(super) async fn publish(self, staging: Staging, record: Image) -> Result<Image, PullError> {
        let published = publish(self.manager, staging, record).await;
        published.map_err(|error| self.failed(error))
    }

    fn failed(self, error: KeepError) -> PullError {
        let name = self.name.clone();
        match error {
            KeepError::Lock(source) => PullError::Lock { name, source },
            KeepError::Io(source) => PullError::Io { name, source },
            KeepError::Taken => PullError::AlreadyExists { name },
            KeepError::Store(source) => PullError::Store { name, source },
        }
    }

    pub(super) fn io(self, source: PathError) -> PullError {
        PullError::Io {
            name: self.name.clone(),
            source,
        }
    }
}

/// Why an image in the making is not kept.
pub(super) enum KeepError {
    /// Somebody else makes or publishes images for too long.
    Lock(LockError),
    /// A host file failed.
    Io(PathError),
    /// Another image has the name.
    Taken,
    /// The store failed.
    Store(StoreError),
}

/// Makes and locks the staging directory of `target`.
pub(super) async fn stage(
    manager: &LocalImageManager,
    target: &Utf8Path,
) -> Result<Staging, KeepError> {
    let lock = publish_lock(&manager.options.directories).await;
    let _lock = lock.map_err(KeepError::Lock)?;
    Staging::create(target).map_err(KeepError::Io)
}

/// Publishes a directory and its record, to the end even when the caller is
/// gone.
pub(super) async fn publish(
    manager: &LocalImageManager,
    staging: Staging,
    record: Image,
) -> Result<Image, KeepError> {
    let options = manager.options.clone();
    let publication = manager.publications.spawn(async move {
        let lock = publish_lock(&options.directories).await;
        let _lock = lock.map_err(KeepError::Lock)?;
        let directory = staging.target().to_owned();
        staging.publish().map_err(KeepError::Io)?;
        // the unique name is the recheck: a peer's record makes this one fail
        match options.store.insert_image(&record).await {
            Ok(()) => Ok(record),
            Err(error) => Err(withdraw(&directory, error)),
        }
    });
    settle(publication).await
}

/// Takes a published directory back whose record could not be made.
fn withdraw(directory: &Utf8Path, error: InsertError) -> KeepError {
    if let Err(error) = remove_tree_if_present(directory) {
        tracing::warn!(%error, "an image directory without a record is left for the next reconcile");
    }
    match error {
        InsertError::Taken => KeepError::Taken,
        InsertError::Store(source) => KeepError::Store(source),
    }
}
