//! Images: pulling, registering, keeping and deleting them, and the pure helpers.
//!
//! Purpose: from an OCI reference to a managed image, by the steps of
//! [`LocalImageManager::pull`]. Invariants: an image's directory is published
//! whole, by rename, under a lock that covers only recheck + rename + insert;
//! files of the user are never changed.
//! Entry points: [`ImageManager`], [`LocalImageManager`], the `validate_*`
//! helpers, [`stage_boot_artifacts`].

mod admission;
mod artifacts;
mod bundle;
mod error;
mod keep;
mod load;
mod local;
mod pull;
mod reconcile;
mod register;
mod validate;

use async_trait::async_trait;
use camino::Utf8PathBuf;

use crate::{
    bundle::{BundleReference, Written},
    catalog::Available,
    domain::{Bytes, Image, ImageName, Selector},
    kernel::KernelSelection,
    oci::ImageReference,
    progress::ProgressSink,
};

pub use artifacts::{stage_boot_artifacts, stage_optional_artifact_path};
pub use error::{BundleImageError, DeleteImageError, ImageQueryError, PullError, RegisterError};
pub use local::{LocalImageManager, LocalImageOptions, ReconcileImagesError};
pub use validate::{PathProblem, ValidationError, validate_kernel_paths, validate_register_paths};
pub(crate) use validate::{kernel_problems, settle};

/// What to pull, and how to make an image of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullRequest {
    /// Where the OCI image is.
    pub reference: ImageReference,
    /// The name to keep it under; made from the reference when none is given.
    pub name: Option<ImageName>,
    /// The kernel it shall boot with.
    pub kernel: KernelSelection,
    /// The disk's size; max(content x 1.25, 1 GiB) when none is given.
    pub size: Option<Bytes>,
}

/// Files of the user, to be used as an image where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterRequest {
    /// The name to keep it under.
    pub name: ImageName,
    /// The ext4 root disk, by an absolute path.
    pub rootfs: Utf8PathBuf,
    /// The kernel it shall boot with.
    pub kernel: KernelSelection,
}

/// Which bundle to make an image of, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadRequest {
    /// The bundle.
    pub source: LoadSource,
    /// The name to keep it under; the catalog's, or the bundle's own, when
    /// none is given.
    pub name: Option<ImageName>,
    /// The kernel it shall boot with; the bundle's own when none is chosen.
    pub kernel: KernelSelection,
}

/// Where a bundle comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoadSource {
    /// From this place; a file by an absolute path.
    Bundle(BundleReference),
    /// From wherever the first catalog with this name says.
    Catalog(ImageName),
}

impl LoadRequest {
    /// The name that is known before the bundle is.
    const fn name(&self) -> Option<&ImageName> {
        match (&self.name, &self.source) {
            (Some(name), _) | (None, LoadSource::Catalog(name)) => Some(name),
            (None, LoadSource::Bundle(_)) => None,
        }
    }
}

/// Which image to bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleImageRequest {
    /// The image.
    pub image: Selector,
    /// Where the bundle goes. It must not exist.
    pub target: Utf8PathBuf,
    /// Whether its kernel goes along.
    pub with_kernel: bool,
}

/// Keeps images.
///
/// Every method may be called concurrently, by any number of processes on the
/// same state directory. A cancelled, failed or crashed call leaves no image
/// half made: no staging directory, no final directory without a record, no
/// record without files (after a crash: once the next call reconciled).
#[async_trait]
pub trait ImageManager: Send + Sync + std::fmt::Debug {
    /// Pulls an OCI image into a managed image. Dropping the future cancels
    /// the pull and removes what it staged; blobs already verified stay cached.
    async fn pull(
        &self,
        request: PullRequest,
        progress: &dyn ProgressSink,
    ) -> Result<Image, PullError>;

    /// Makes an unmanaged image of files of the user, which are checked, used
    /// where they are, and never changed or deleted. Dropping the future leaves
    /// the image registered or not.
    async fn register(&self, request: RegisterRequest) -> Result<Image, RegisterError>;

    /// Makes a managed image of a bundle. Cancelling is as for a pull; what is
    /// fetched so far stays cached.
    async fn load(
        &self,
        request: LoadRequest,
        progress: &dyn ProgressSink,
    ) -> Result<Image, PullError>;

    /// Writes an image into a bundle: the same image gives the same bytes.
    /// Cancelling leaves nothing at the target.
    async fn bundle(
        &self,
        request: BundleImageRequest,
        progress: &dyn ProgressSink,
    ) -> Result<Written, BundleImageError>;

    /// What the catalogs offer; those that cannot be used are told apart.
    async fn available(&self) -> Available;

    /// Every image, by name.
    async fn list(&self) -> Result<Vec<Image>, ImageQueryError>;

    /// The image a selector means.
    async fn show(&self, selector: &Selector) -> Result<Image, ImageQueryError>;

    /// Deletes an image's record and, when it is managed, its artifacts;
    /// refused while a VM uses it.
    async fn delete(&self, selector: &Selector) -> Result<Image, DeleteImageError>;
}
