//! Promoting an image: its files are copied, and it becomes a managed one.
//!
//! Invariants: the user's files are only read; the copy is published whole,
//! by rename, and then the record is changed, both under the short lock. A
//! crash before the record is changed leaves the image unmanaged and perhaps
//! a directory, which reconcile removes; one after it, a managed image.

use std::{
    fs::{File, Metadata},
    os::unix::fs::MetadataExt as _,
};

use camino::Utf8Path;

use super::{
    ImageQueryError, LocalImageManager, ValidationError,
    artifacts::staged_boot_artifacts,
    keep::ROOTFS_FILE,
    local::{name_lock, publish_lock},
    stage_boot_artifacts, validate_promote_paths,
};
use crate::{
    domain::{Bytes, DiskProvenance, Image, ImageName, ImageOrigin, ImageSizes, Selector},
    error::ErrorKind,
    host_fs::{
        CopyMethod, IoContext as _, LockError, PathError, Staging, copy_open_file, disk_usage,
        remove_tree_if_present,
    },
    remote::RemoteError,
    store::StoreError,
    task::{attended, settle},
};

/// An image could not be promoted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PromoteError {
    /// It could not be looked up.
    #[error(transparent)]
    Query(#[from] ImageQueryError),
    /// It is managed.
    #[error("image {name} is managed already")]
    Managed {
        /// The image.
        name: ImageName,
    },
    /// Files cannot be used.
    #[error("image {name} cannot be made of these files")]
    Invalid {
        /// The image.
        name: ImageName,
        /// Every problem.
        source: ValidationError,
    },
    /// Somebody wrote to its disk meanwhile.
    #[error("the root disk of image {name} was changed while it was copied")]
    Changed {
        /// The image.
        name: ImageName,
    },
    /// A host file failed.
    #[error("failed to copy image {name}")]
    Io {
        /// The image.
        name: ImageName,
        /// The cause.
        source: PathError,
    },
    /// A lock could not be taken.
    #[error("failed to promote image {name}")]
    Lock {
        /// The image.
        name: ImageName,
        /// The cause.
        source: LockError,
    },
    /// The store failed.
    #[error("failed to record image {name}")]
    Store {
        /// The image.
        name: ImageName,
        /// The cause.
        source: StoreError,
    },
    /// What a server said.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl PromoteError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Remote(error) => error.kind(),
            Self::Query(error) => error.kind(),
            Self::Managed { .. } | Self::Changed { .. } => ErrorKind::Conflict,
            Self::Invalid { .. } => ErrorKind::InvalidInput,
            Self::Io { source, .. } => source.kind(),
            Self::Lock { source, .. } => source.kind(),
            Self::Store { source, .. } => source.kind(),
        }
    }

    fn io(name: &ImageName) -> impl Fn(PathError) -> Self {
        |source| Self::Io {
            name: name.clone(),
            source,
        }
    }

    fn lock(name: &ImageName) -> impl Fn(LockError) -> Self {
        |source| Self::Lock {
            name: name.clone(),
            source,
        }
    }
}

pub(super) async fn promote(
    manager: &LocalImageManager,
    selector: &Selector,
) -> Result<Image, PromoteError> {
    let image = unmanaged(manager, selector).await?;
    let directories = &manager.options.directories;
    let lock = name_lock(directories, &image.name).await;
    let _name_lock = lock.map_err(PromoteError::lock(&image.name))?;
    // a peer may have been faster
    let image = unmanaged(manager, &image.id.into()).await?;
    validate_promote_paths(&image).map_err(|source| PromoteError::Invalid {
        name: image.name.clone(),
        source,
    })?;
    let staging = stage(manager, &image).await?;
    let original = image.clone();
    let copied = attended(move |cancel| copy(staging, &original, &|| cancel.is_cancelled()));
    publish(manager, image, copied.await?).await
}

async fn unmanaged(
    manager: &LocalImageManager,
    selector: &Selector,
) -> Result<Image, PromoteError> {
    let image = manager.find(selector).await?;
    if image.is_managed() {
        return Err(PromoteError::Managed { name: image.name });
    }
    Ok(image)
}

async fn stage(manager: &LocalImageManager, image: &Image) -> Result<Staging, PromoteError> {
    let directories = &manager.options.directories;
    let lock = publish_lock(directories).await;
    let _lock = lock.map_err(PromoteError::lock(&image.name))?;
    let target = directories.image(image.id);
    // what an interrupted promotion left: the record says that it is not in use
    remove_tree_if_present(&target).map_err(PromoteError::io(&image.name))?;
    Staging::create(&target).map_err(PromoteError::io(&image.name))
}

/// A staging directory with copies of all files.
struct Copied {
    staging: Staging,
    method: CopyMethod,
    sizes: ImageSizes,
}

fn copy(
    staging: Staging,
    image: &Image,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<Copied, PromoteError> {
    let failed = PromoteError::io(&image.name);
    let disk = staging.path().join(ROOTFS_FILE);
    let source = File::open(&image.rootfs)
        .at("open", &image.rootfs)
        .map_err(&failed)?;
    let before = inspect(&source, &image.rootfs).map_err(&failed)?;
    let method = copy_open_file(&source, &disk, is_cancelled).map_err(&failed)?;
    let after = inspect(&source, &image.rootfs).map_err(&failed)?;
    if version(&before) != version(&after) {
        return Err(PromoteError::Changed {
            name: image.name.clone(),
        });
    }
    stage_boot_artifacts(&image.boot, staging.path()).map_err(&failed)?;
    let sizes = ImageSizes {
        apparent: Bytes::new(after.len()),
        on_disk: disk_usage(&disk).map_err(failed)?,
    };
    Ok(Copied {
        staging,
        method,
        sizes,
    })
}

fn inspect(file: &File, path: &Utf8Path) -> Result<Metadata, PathError> {
    file.metadata().at("inspect", path)
}

/// What differs once somebody wrote to a file.
fn version(metadata: &Metadata) -> (u64, i64, i64) {
    (metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}

/// Publishes the copy and changes the record, to the end even when the caller
/// is gone.
async fn publish(
    manager: &LocalImageManager,
    image: Image,
    copied: Copied,
) -> Result<Image, PromoteError> {
    let options = manager.options.clone();
    let publication = manager.publications.spawn(async move {
        let lock = publish_lock(&options.directories).await;
        let _lock = lock.map_err(PromoteError::lock(&image.name))?;
        let directory = copied.staging.target().to_owned();
        let promoted = Image {
            rootfs: directory.join(ROOTFS_FILE),
            boot: staged_boot_artifacts(&image.boot, &directory),
            artifact_directory: Some(directory.clone()),
            origin: ImageOrigin::Promoted,
            disk: DiskProvenance {
                method: Some(copied.method.into()),
                ..DiskProvenance::default()
            },
            sizes: copied.sizes,
            updated: options.clock.now(),
            ..image
        };
        let published = copied.staging.publish();
        published.map_err(PromoteError::io(&promoted.name))?;
        let stored = options.store.update_image_files(&promoted).await;
        let failure = match stored {
            Ok(true) => return Ok(promoted),
            Ok(false) => gone(&promoted.name),
            Err(source) => PromoteError::Store {
                name: promoted.name,
                source,
            },
        };
        if let Err(error) = remove_tree_if_present(&directory) {
            tracing::warn!(%error, "the copy of an image is left for the next reconcile");
        }
        Err(failure)
    });
    settle(publication).await
}

/// Somebody deleted the image while it was copied.
fn gone(name: &ImageName) -> PromoteError {
    let selector = Selector::from(name.as_str());
    ImageQueryError::NotFound { selector }.into()
}
