//! Images: pulling, registering, promoting, saving, keeping and deleting them, and the pure helpers.
//!
//! Purpose: from an OCI reference to a managed image, by the steps of
//! [`LocalImageManager::pull`]. Invariants: an image's directory is published
//! whole, by rename, under a lock that covers only recheck + rename + insert;
//! files of the user are never changed.
//! Entry points: [`ImageManager`], [`LocalImageManager`], and
//! [`build::ImageBuilder`].
//!
//! # Helpers
//!
//! What pull, build and promote are made of is for embedders too. None of these
//! knows a store or holds state; those that touch files touch only those named.
//!
//! | helper | does |
//! |---|---|
//! | [`debian_base_packages`] | names what every built image has installed |
//! | [`build_metadata_packages`] | gives the lines that are hashed |
//! | [`packages_hash`] | hashes them: what a record made today would say |
//! | [`write_packages_metadata`] | writes that hash beside a root disk ([`packages_metadata_path`]) |
//! | [`staleness`] | says why a built image is not what a build would make today |
//! | [`validate_kernel_paths`] | checks a kernel triple, every problem at once |
//! | [`validate_register_paths`] | checks a root disk and its triple likewise |
//! | [`validate_promote_paths`] | checks a record's files before they are copied |
//! | [`stage_boot_artifacts`] | copies a triple into a directory, by reflink where possible |
//! | [`stage_optional_artifact_path`] | says where an optional artifact will lie |
//! | [`resize_rootfs`] | gives a disk another size, never less than its content |
//! | [`build_provision_script`] | makes the script that installs banger's own parts |
//! | [`build_modules_command`] | makes the command that unpacks a kernel's modules |
//! | [`write_build_log`] | writes a line of banger's own into a build's log |
//!
//! The versions that scripts install: [`MISE_VERSION`], [`OPENCODE_VERSION`],
//! [`TMUX_PLUGIN_MANAGER_VERSION`], [`TMUX_RESURRECT_VERSION`],
//! [`TMUX_CONTINUUM_VERSION`].
//!
//! ```
//! use banger_core::image::{ProvisionParts, build_provision_script, debian_base_packages};
//!
//! let parts = ProvisionParts { base_packages: true, ..ProvisionParts::NONE };
//! let script = build_provision_script(parts).expect("packages need a script");
//! assert!(script.contains(&debian_base_packages().join(" ")));
//! assert_eq!(build_provision_script(ProvisionParts::NONE), None);
//! ```

mod admission;
mod artifacts;
pub mod build;
mod bundle;
mod content;
mod error;
mod keep;
mod load;
mod local;
mod promote;
mod provision;
mod prune;
mod pull;
mod reconcile;
mod register;
mod resize;
mod save;
mod stale;
mod twin;
mod validate;

use async_trait::async_trait;
use camino::Utf8PathBuf;

use crate::{
    bundle::{BundleReference, Written},
    catalog::Available,
    disk::{Difference, DiskEntry},
    domain::{Bytes, Image, ImageName, Selector},
    host_fs::Output,
    kernel::KernelSelection,
    oci::ImageReference,
    progress::ProgressSink,
};

pub use artifacts::{stage_boot_artifacts, stage_optional_artifact_path};
pub use build::write_build_log;
pub use content::{DiskStream, ImageFile, ListImageFiles, ReadImageError};
pub use error::{BundleImageError, DeleteImageError, ImageQueryError, PullError, RegisterError};
pub use local::{LocalImageManager, LocalImageOptions, ReconcileImagesError};
pub use promote::PromoteError;
pub use provision::{
    MISE_PATH, MISE_VERSION, OPENCODE_VERSION, ProvisionParts, TMUX_CONTINUUM_VERSION,
    TMUX_PLUGIN_MANAGER_VERSION, TMUX_RESURRECT_VERSION, build_metadata_packages,
    build_modules_command, build_provision_script, debian_base_packages, packages_hash,
    packages_metadata_path, write_packages_metadata,
};
pub use prune::{PruneError, PruneRequest, PrunedBlob, PrunedCache};
pub use resize::{ResizeRootfsError, resize_rootfs};
pub(crate) use resize::{check_and_trim_rootfs, e2fsprogs, resize_in_place};
pub use save::{
    SaveError, SaveFormat, SaveOutput, SaveRequest, SavedImage, write_archive, write_tree,
};
pub use stale::{Staleness, staleness};
pub use validate::{
    PathProblem, ValidationError, validate_kernel_paths, validate_promote_paths,
    validate_register_paths,
};
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
    /// The Containerfile that it was built of: where the image came from, in place
    /// of where it is pulled from.
    pub containerfile: Option<Utf8PathBuf>,
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
    #[must_use]
    pub const fn known_name(&self) -> Option<&ImageName> {
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
    /// Where the bundle goes.
    pub target: Output,
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

    /// Copies the files of an unmanaged image, which stay as they are, and makes
    /// the image a managed one of the same id and name. Dropping the future
    /// leaves it unmanaged, or promoted when that had begun to show.
    async fn promote(&self, selector: &Selector) -> Result<Image, PromoteError>;

    /// Writes an image's tree and configuration as an archive. Dropping the
    /// future leaves no file; a stream keeps what it got.
    async fn save(
        &self,
        selector: &Selector,
        request: SaveRequest,
    ) -> Result<SavedImage, SaveError>;

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

    /// Removes blobs from the cache that no image was made of and no pull
    /// needs. Dropping the future leaves it to finish what it is at.
    async fn prune(&self, request: PruneRequest) -> Result<PrunedCache, PruneError>;

    /// What is at a path of an image's disk, in the order of the paths' bytes.
    async fn list_files(
        &self,
        image: &Selector,
        request: ListImageFiles,
    ) -> Result<DiskStream<DiskEntry>, ReadImageError>;

    /// Reads a file of an image's disk from an offset on, in pieces of at most 64 KiB,
    /// holes as zeros. A symbolic link is followed.
    async fn read_file(
        &self,
        image: &Selector,
        path: Vec<u8>,
        offset: u64,
    ) -> Result<ImageFile, ReadImageError>;

    /// What differs between the disks of two images, in the order of the paths' bytes:
    /// that which comes after `after`.
    async fn diff(
        &self,
        one: &Selector,
        other: &Selector,
        after: Vec<u8>,
    ) -> Result<DiskStream<Difference>, ReadImageError>;
}
