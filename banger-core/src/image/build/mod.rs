//! Building images: in a VM from another image, or from a Containerfile.
//!
//! Purpose: `image build`. Invariants: nothing is published before it is whole
//! and e2fsck found its disk whole; a failed build leaves its log, whose path
//! the error names, and nothing else. What a crash leaves: a VM that its
//! monitor stops and removes (its lifeline ended), staging directories that the
//! next [`LocalImageManager::reconcile`] removes, and the log.
//! Entry points: [`ImageBuilder`], [`LocalImageBuilder`], [`ContainerfileBuilder`].

mod containerfile;
mod error;
mod from_image;
mod guest;
mod inputs;
mod log;
mod packed;
mod parcel;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use camino::Utf8PathBuf;

use super::{LocalImageManager, ProvisionParts};
use crate::{
    domain::{BackendKind, Bytes, Image, ImageName, NetworkMode, Selector},
    kernel::KernelSelection,
    progress::ProgressSink,
    vm::VmSupervisor,
};

pub use containerfile::ContainerfileBuilder;
pub use error::{BuildImageError, BuildMachineError};
pub use from_image::GROWTH;
pub use log::write_build_log;
pub use packed::{PackedInput, PackedKind, PackedProvision};

/// An image to be built in a VM from another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildImageRequest {
    /// The image it starts from, which stays as it is.
    pub base: Selector,
    /// The name to keep it under.
    pub name: ImageName,
    /// What is put into it.
    pub source: Source,
    /// The disk's size; the base's and 2 GiB more when none is given.
    pub size: Option<Bytes>,
    /// The machine it is built in.
    pub machine: BuildMachine,
    /// Labels of that machine beside its own.
    pub labels: BTreeMap<String, String>,
    /// How long the guest may take in all.
    pub deadline: Duration,
}

/// The machine an image is built in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuildMachine {
    /// Number of virtual CPUs, 1 to 64.
    pub vcpus: u32,
    /// Guest memory, at least 64 MiB.
    pub memory: Bytes,
    /// The wanted backend; none means the best one there is.
    pub backend: Option<BackendKind>,
    /// What network it has.
    pub network: NetworkMode,
}

/// Where what a build puts into an image is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// In files of this host, which are packed when the build begins.
    Host(Provision),
    /// In files that were packed, here or elsewhere.
    Packed(PackedProvision),
}

impl Source {
    /// What of banger's own is installed.
    #[must_use]
    pub const fn parts(&self) -> ProvisionParts {
        match self {
            Self::Host(provision) => provision.parts,
            Self::Packed(packed) => packed.parts,
        }
    }
}

impl From<Provision> for Source {
    fn from(provision: Provision) -> Self {
        Self::Host(provision)
    }
}

/// What a build puts into an image, in the order of the fields. Everything
/// runs as root, in `/`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provision {
    /// What of banger's own is installed.
    pub parts: ProvisionParts,
    /// Files of the host, which become root's.
    pub copies: Vec<GuestCopy>,
    /// Script files of the host, by absolute paths: run as their first line
    /// says, by `sh` when it says nothing.
    pub scripts: Vec<Utf8PathBuf>,
    /// Commands for `sh -c`.
    pub commands: Vec<String>,
}

/// A file or directory of the host to be copied into a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestCopy {
    /// A file, or a directory whose content is copied, by an absolute path.
    pub source: Utf8PathBuf,
    /// An absolute path in the guest. With a `/` at its end a file keeps its
    /// name below it; its parents are made.
    pub destination: String,
}

/// An image to be built from a Containerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildContainerfileRequest {
    /// The file; `Containerfile` or else `Dockerfile` in the context when none
    /// is given.
    pub containerfile: Option<Utf8PathBuf>,
    /// The directory that its `COPY` takes files from.
    pub context: Utf8PathBuf,
    /// The name to keep the image under.
    pub name: ImageName,
    /// The kernel it shall boot with.
    pub kernel: KernelSelection,
    /// The disk's size; max(content x 1.25, 1 GiB) when none is given.
    pub size: Option<Bytes>,
    /// The program that builds; the first one installed when none is given.
    pub program: Option<ContainerBuilder>,
    /// Values for the file's `ARG`s, each `KEY=VALUE`.
    pub arguments: Vec<String>,
    /// The stage to stop at; the last one when none is given.
    pub target: Option<String>,
    /// How long the program may take.
    pub deadline: Duration,
}

/// A program of the host that builds Containerfiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerBuilder {
    /// buildah.
    Buildah,
    /// podman.
    Podman,
    /// docker.
    Docker,
}

impl ContainerBuilder {
    /// Every program, the one that is preferred first.
    pub const ALL: [Self; 3] = [Self::Buildah, Self::Podman, Self::Docker];

    /// The program's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Buildah => "buildah",
            Self::Podman => "podman",
            Self::Docker => "docker",
        }
    }
}

/// Builds images.
///
/// Both methods may be called concurrently, by any number of processes on the
/// same state directory; builds of one name wait for one another. A cancelled,
/// failed or crashed call leaves no image.
#[async_trait]
pub trait ImageBuilder: Send + Sync + std::fmt::Debug {
    /// Clones an image's disk, boots it, runs what is to be run in it, and keeps
    /// the disk as a managed image. Dropping the future ends the VM.
    async fn build_from_image(
        &self,
        request: BuildImageRequest,
        progress: &dyn ProgressSink,
    ) -> Result<Image, BuildImageError>;

    /// Has a program of the host build a Containerfile, and pulls the result.
    /// The program keeps its own copy, as its cache. Dropping the future kills
    /// the program.
    async fn build_containerfile(
        &self,
        request: BuildContainerfileRequest,
        progress: &dyn ProgressSink,
    ) -> Result<Image, BuildImageError>;
}

/// Builds images on this host.
#[derive(Clone, Debug)]
pub struct LocalImageBuilder {
    images: Arc<LocalImageManager>,
    vms: Arc<dyn VmSupervisor>,
}

impl LocalImageBuilder {
    /// A builder over an image manager and a supervisor of the same store and
    /// directories.
    #[must_use]
    pub const fn new(images: Arc<LocalImageManager>, vms: Arc<dyn VmSupervisor>) -> Self {
        Self { images, vms }
    }
}

#[async_trait]
impl ImageBuilder for LocalImageBuilder {
    async fn build_from_image(
        &self,
        request: BuildImageRequest,
        progress: &dyn ProgressSink,
    ) -> Result<Image, BuildImageError> {
        from_image::build(self, request, progress).await
    }

    async fn build_containerfile(
        &self,
        request: BuildContainerfileRequest,
        progress: &dyn ProgressSink,
    ) -> Result<Image, BuildImageError> {
        let options = &self.images.options;
        let builder = ContainerfileBuilder {
            images: Arc::clone(&self.images) as _,
            kernels: Arc::clone(&options.kernels),
            directories: options.directories.clone(),
        };
        builder.build(request, progress).await
    }
}

/// Refuses a name that an image has.
async fn name_is_free(
    manager: &LocalImageManager,
    name: &ImageName,
) -> Result<(), BuildImageError> {
    let taken = manager.options.store.is_image_name(name).await;
    if taken.map_err(BuildImageError::store(name))? {
        return Err(BuildImageError::AlreadyExists { name: name.clone() });
    }
    Ok(())
}
