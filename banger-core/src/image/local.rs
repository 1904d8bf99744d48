//! The image manager of one host: a store, a directory, locks.
//!
//! Locks: `image-<name>` is held for the whole of a pull or a promotion, so that
//! a second one of the name waits instead of working in vain; `images` is held for
//! moments, by whoever makes or sweeps staging directories, publishes or
//! deletes.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use camino::Utf8PathBuf;
use tokio_util::task::TaskTracker;

use super::{
    BundleImageError, BundleImageRequest, DeleteImageError, DiskStream, ImageFile, ImageManager,
    ImageQueryError, ListImageFiles, LoadRequest, PromoteError, PruneError, PruneRequest,
    PrunedCache, PullError, PullRequest, ReadImageError, RegisterError, RegisterRequest, SaveError,
    SaveRequest, SavedImage, reconcile,
};
use crate::{
    bundle::Written,
    catalog::{Available, Supply},
    clock::Clock,
    directories::Directories,
    disk::{Difference, DiskEntry},
    domain::{Image, ImageName, Selector},
    host_fs::{FileLock, LockError, PathError, lock_deadline, remove_tree_if_present},
    kernel::KernelResolver,
    oci::{ImageSources, Platform, sweep_leases},
    progress::ProgressSink,
    rootfs::{RootfsBuilder, RootfsLimits},
    store::{Found, Store, StoreError},
};

/// What a [`LocalImageManager`] works with.
#[derive(Clone, Debug)]
pub struct LocalImageOptions {
    /// The records.
    pub store: Store,
    /// Where files lie.
    pub directories: Directories,
    /// Resolves kernels.
    pub kernels: Arc<dyn KernelResolver>,
    /// Opens references.
    pub sources: Arc<dyn ImageSources>,
    /// Builds root disks.
    pub rootfs: Arc<dyn RootfsBuilder>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// The platform to pull.
    pub platform: Platform,
    /// Bounds on what layers may claim.
    pub limits: RootfsLimits,
    /// Bundles, catalogs and the policy.
    pub supply: Supply,
}

/// Keeps images below one state directory.
#[derive(Debug)]
pub struct LocalImageManager {
    pub(super) options: LocalImageOptions,
    /// Publications that must not stop half-way when their caller is dropped.
    pub(super) publications: TaskTracker,
}

impl LocalImageManager {
    /// A manager; nothing is touched yet.
    #[must_use]
    pub fn new(options: LocalImageOptions) -> Self {
        Self {
            options,
            publications: TaskTracker::new(),
        }
    }

    /// Removes what crashes left: leases of the cache, staging directories whose
    /// maker is gone and image directories without a record. Answers which
    /// directories were removed.
    pub async fn reconcile(&self) -> Result<Vec<Utf8PathBuf>, ReconcileImagesError> {
        sweep_leases(&self.options.directories).await?;
        let _lock = publish_lock(&self.options.directories).await?;
        reconcile::sweep(&self.options.store, &self.options.directories).await
    }

    pub(super) async fn find(&self, selector: &Selector) -> Result<Image, ImageQueryError> {
        let found = self
            .options
            .store
            .find_image(selector)
            .await
            .map_err(ImageQueryError::Store)?;
        match found {
            Found::One(image) => Ok(image),
            Found::None => Err(ImageQueryError::NotFound {
                selector: selector.clone(),
            }),
            Found::Several => Err(ImageQueryError::Ambiguous {
                selector: selector.clone(),
            }),
        }
    }
}

/// What a crash left could not be repaired.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReconcileImagesError {
    /// A file cannot be inspected or removed.
    #[error("failed to remove what an interrupted image operation left")]
    Io(#[from] PathError),
    /// The lock could not be taken.
    #[error("failed to look for interrupted image operations")]
    Lock(#[from] LockError),
    /// The store failed.
    #[error("failed to look for interrupted image operations")]
    Store(#[from] StoreError),
}

impl ReconcileImagesError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> crate::ErrorKind {
        match self {
            Self::Io(error) => error.kind(),
            Self::Lock(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }
}

/// How long to wait for another operation on the same name to end.
const NAME_LOCK_DEADLINE: Duration = Duration::from_hours(1);

/// The lock of whoever makes or copies the image of a name.
pub(super) async fn name_lock(
    directories: &Directories,
    name: &ImageName,
) -> Result<FileLock, LockError> {
    let path = directories.locks().join(format!("image-{name}.lock"));
    FileLock::acquire(&path, NAME_LOCK_DEADLINE).await
}

/// The lock of making, sweeping, publishing and deleting; held for moments.
pub(super) async fn publish_lock(directories: &Directories) -> Result<FileLock, LockError> {
    FileLock::acquire(&directories.locks().join("images.lock"), lock_deadline()).await
}

#[async_trait]
impl ImageManager for LocalImageManager {
    async fn pull(
        &self,
        request: PullRequest,
        progress: &dyn ProgressSink,
    ) -> Result<Image, PullError> {
        super::pull::pull(self, request, progress).await
    }

    async fn register(&self, request: RegisterRequest) -> Result<Image, RegisterError> {
        super::register::register(self, request).await
    }

    async fn promote(&self, selector: &Selector) -> Result<Image, PromoteError> {
        super::promote::promote(self, selector).await
    }

    async fn save(
        &self,
        selector: &Selector,
        request: SaveRequest,
    ) -> Result<SavedImage, SaveError> {
        super::save::save(self, selector, request).await
    }

    async fn load(
        &self,
        request: LoadRequest,
        progress: &dyn ProgressSink,
    ) -> Result<Image, PullError> {
        super::load::load(self, request, progress).await
    }

    async fn bundle(
        &self,
        request: BundleImageRequest,
        progress: &dyn ProgressSink,
    ) -> Result<Written, BundleImageError> {
        super::bundle::bundle(self, request, progress).await
    }

    async fn available(&self) -> Available {
        self.options.supply.catalogs.images().await
    }

    async fn list(&self) -> Result<Vec<Image>, ImageQueryError> {
        self.options
            .store
            .images()
            .await
            .map_err(ImageQueryError::Store)
    }

    async fn show(&self, selector: &Selector) -> Result<Image, ImageQueryError> {
        self.find(selector).await
    }

    async fn delete(&self, selector: &Selector) -> Result<Image, DeleteImageError> {
        let found = self.find(selector).await?;
        let lock = publish_lock(&self.options.directories).await;
        let _lock = lock.map_err(|source| DeleteImageError::Lock {
            name: found.name,
            source,
        })?;
        // a promotion may have ended meanwhile
        let image = self.find(&found.id.into()).await?;
        let name = &image.name;
        self.delete_record(&image).await?;
        // from here on a crash leaves a directory without a record, which reconcile removes
        self.remove_artifacts(&image)
            .map_err(|source| DeleteImageError::Io {
                name: name.clone(),
                source,
            })?;
        Ok(image)
    }

    async fn prune(&self, request: PruneRequest) -> Result<PrunedCache, PruneError> {
        super::prune::prune(self, request).await
    }

    async fn list_files(
        &self,
        image: &Selector,
        request: ListImageFiles,
    ) -> Result<DiskStream<DiskEntry>, ReadImageError> {
        super::content::list(self, image, request).await
    }

    async fn read_file(
        &self,
        image: &Selector,
        path: Vec<u8>,
        offset: u64,
    ) -> Result<ImageFile, ReadImageError> {
        super::content::read(self, image, path, offset).await
    }

    async fn diff(
        &self,
        one: &Selector,
        other: &Selector,
        after: Vec<u8>,
    ) -> Result<DiskStream<Difference>, ReadImageError> {
        super::content::diff(self, (one, other), after).await
    }
}

impl LocalImageManager {
    async fn delete_record(&self, image: &Image) -> Result<(), DeleteImageError> {
        let store = &self.options.store;
        let failed = |source| DeleteImageError::Store {
            name: image.name.clone(),
            source,
        };
        let vms = store.vms_of_image(image.id).await.map_err(failed)?;
        let snapshots = store.snapshots_of_image(image.id).await.map_err(failed)?;
        if !vms.is_empty() || !snapshots.is_empty() {
            return Err(DeleteImageError::InUse {
                name: image.name.clone(),
                vms,
                snapshots,
            });
        }
        if store.delete_image(image.id).await.map_err(failed)? {
            return Ok(());
        }
        Err(ImageQueryError::NotFound {
            selector: Selector::from(image.name.as_str()),
        }
        .into())
    }

    /// Removes a managed image's own directory and nothing a record points at
    /// elsewhere.
    fn remove_artifacts(&self, image: &Image) -> Result<(), PathError> {
        let own = self.options.directories.image(image.id);
        if image.artifact_directory.as_ref() == Some(&own) {
            remove_tree_if_present(&own)?;
        }
        Ok(())
    }

    pub(super) async fn name_is_free(&self, name: &ImageName) -> Result<(), PullError> {
        let failed = |source| PullError::Store {
            name: name.clone(),
            source,
        };
        let taken = self.options.store.is_image_name(name).await;
        if taken.map_err(failed)? {
            return Err(PullError::AlreadyExists { name: name.clone() });
        }
        Ok(())
    }
}
