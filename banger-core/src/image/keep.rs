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
    host_fs::{FileLock, PathError, Staging, remove_tree_if_present},
    store::InsertError,
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
        let directories = &self.manager.options.directories;
        let lock = publish_lock(directories).await;
        let _lock = lock.map_err(|source| PullError::Lock {
            name: self.name.clone(),
            source,
        })?;
        Staging::create(&directories.image(id)).map_err(|source| self.io(source))
    }

    /// Publishes a filled staging directory and records its image.
    pub(super) async fn publish(self, staging: Staging, record: Image) -> Result<Image, PullError> {
        let options = self.manager.options.clone();
        let name = self.name.clone();
        let publication = self.manager.publications.spawn(async move {
            let lock = publish_lock(&options.directories).await;
            let _lock = lock.map_err(|source| PullError::Lock {
                name: name.clone(),
                source,
            })?;
            let directory = staging.target().to_owned();
            staging.publish().map_err(|source| PullError::Io {
                name: name.clone(),
                source,
            })?;
            // the unique name is the recheck: a peer's record makes this one fail
            match options.store.insert_image(&record).await {
                Ok(()) => Ok(record),
                Err(error) => Err(withdraw(&directory, name, error)),
            }
        });
        settle(publication).await
    }

    pub(super) fn io(self, source: PathError) -> PullError {
        PullError::Io {
            name: self.name.clone(),
            source,
        }
    }
}

/// Takes a published directory back whose record could not be made.
fn withdraw(directory: &Utf8Path, name: ImageName, error: InsertError) -> PullError {
    if let Err(error) = remove_tree_if_present(directory) {
        tracing::warn!(%error, "an image directory without a record is left for the next reconcile");
    }
    match error {
        InsertError::Taken => PullError::AlreadyExists { name },
        InsertError::Store(source) => PullError::Store { name, source },
    }
}
