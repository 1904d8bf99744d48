//! Pulling an OCI image, step by step (the numbers are those of the contract).
//!
//! Invariants: nothing is published before it is whole; whoever works on the
//! staging directory owns it, so it is removed only after the work on it
//! ended; publication runs to its end even when the caller is gone.

use std::{sync::Arc, time::Duration};

use camino::Utf8Path;
use tokio_util::sync::CancellationToken;

use super::{
    LocalImageManager, PullError, PullRequest,
    admission::{admit, vouch},
    artifacts::staged_boot_artifacts,
    local::publish_lock,
    stage_boot_artifacts,
};
use crate::{
    domain::{BootArtifacts, Image, ImageId, ImageName, ImageOrigin, ResolvedKernel, Verdict},
    host_fs::{FileLock, PathError, Staging, remove_tree_if_present, sync_directory},
    oci::{ImageSource, LayerBlob, ResolvedImage, SourceError},
    progress::{ProgressEvent, ProgressSink},
    rootfs::{RootfsBuilder, RootfsError, RootfsLimits, RootfsReport, RootfsRequest},
    store::InsertError,
    task::{reporting, settle},
};

/// How long a pull waits for another pull of the same name to end.
const NAME_LOCK_DEADLINE: Duration = Duration::from_hours(1);

pub(super) const ROOTFS_FILE: &str = "rootfs.ext4";

pub(super) async fn pull(
    manager: &LocalImageManager,
    request: PullRequest,
    progress: &dyn ProgressSink,
) -> Result<Image, PullError> {
    let name = image_name(&request)?; // 2
    let admission = admit(manager, &request, &name)?;
    manager.name_is_free(&name).await?; // 3
    let kernel = resolve_kernel(manager, &request, &name).await?; // 4
    let pull = Pull {
        manager,
        name: &name,
        progress,
    };
    let source = pull.open(&request)?;
    let _name_lock = pull.lock_name().await?;
    manager.name_is_free(&name).await?;
    let image = pull.resolve(source.as_ref()).await?;
    let verdict = vouch(&admission, source.as_ref(), &image, &name).await?;
    let layers = pull.fetch(source.as_ref(), &image).await?; // 6
    let id = ImageId::generate();
    let staging = pull.stage(id).await?; // 5: nothing is staged before there is something to put there
    let rootfs = rootfs_request(&request, &image, layers, manager.options.limits);
    let built = pull.build(staging, rootfs, kernel.boot.clone()).await?; // 7, 8, 9
    let pulled = Pulled {
        request: &request,
        image,
        kernel,
        verdict,
    };
    let record = pull.record(id, pulled, &built.report);
    pull.publish(built.staging, record).await // 10, 11
}

fn image_name(request: &PullRequest) -> Result<ImageName, PullError> {
    let default = || request.reference.default_name();
    let no_name = || PullError::NoDefaultName {
        reference: request.reference.to_string(),
    };
    request.name.clone().or_else(default).ok_or_else(no_name)
}

async fn resolve_kernel(
    manager: &LocalImageManager,
    request: &PullRequest,
    name: &ImageName,
) -> Result<ResolvedKernel, PullError> {
    let resolved = manager.options.kernels.resolve(&request.kernel).await;
    resolved.map_err(|source| PullError::Kernel {
        name: name.clone(),
        source,
    })
}

fn rootfs_request(
    request: &PullRequest,
    image: &ResolvedImage,
    layers: Vec<LayerBlob>,
    limits: RootfsLimits,
) -> RootfsRequest {
    RootfsRequest {
        limits,
        size: request.size,
        created_unix: image.created_unix.unwrap_or(0),
        ..RootfsRequest::new(layers)
    }
}

/// One pull on its way.
pub(super) struct Pull<'a> {
    pub(super) manager: &'a LocalImageManager,
    pub(super) name: &'a ImageName,
    pub(super) progress: &'a dyn ProgressSink,
}

/// What a record is made of.
struct Pulled<'a> {
    request: &'a PullRequest,
    image: ResolvedImage,
    kernel: ResolvedKernel,
    verdict: Option<Verdict>,
}

/// A staging directory with everything in it.
struct Built {
    staging: Staging,
    report: RootfsReport,
}

impl Pull<'_> {
    fn open(&self, request: &PullRequest) -> Result<Box<dyn ImageSource>, PullError> {
        self.progress.emit(ProgressEvent::Resolving {
            reference: request.reference.to_string(),
        });
        let opened = self.manager.options.sources.open(&request.reference);
        opened.map_err(|source| self.source(source))
    }

    pub(super) async fn lock_name(&self) -> Result<FileLock, PullError> {
        let locks = self.manager.options.directories.locks();
        let path = locks.join(format!("image-{}.lock", self.name));
        let lock = FileLock::acquire(&path, NAME_LOCK_DEADLINE).await;
        lock.map_err(|source| PullError::Lock {
            name: self.name.clone(),
            source,
        })
    }

    async fn resolve(&self, source: &dyn ImageSource) -> Result<ResolvedImage, PullError> {
        let image = source.resolve(&self.manager.options.platform).await;
        image.map_err(|source| self.source(source))
    }

    async fn fetch(
        &self,
        source: &dyn ImageSource,
        image: &ResolvedImage,
    ) -> Result<Vec<LayerBlob>, PullError> {
        self.progress.emit(image.resolved_event());
        let layers = source.fetch_layers(&image.layers, self.progress).await;
        layers.map_err(|source| self.source(source))
    }

    fn source(&self, source: SourceError) -> PullError {
        PullError::Source {
            name: self.name.clone(),
            source,
        }
    }

    pub(super) async fn stage(&self, id: ImageId) -> Result<Staging, PullError> {
        let directories = &self.manager.options.directories;
        let lock = publish_lock(directories).await;
        let _lock = lock.map_err(|source| PullError::Lock {
            name: self.name.clone(),
            source,
        })?;
        Staging::create(&directories.image(id)).map_err(|source| self.io(source))
    }

    /// Fills the staging directory on a thread of its own, which owns the
    /// directory meanwhile; dropping the future cancels the thread's work.
    async fn build(
        &self,
        staging: Staging,
        request: RootfsRequest,
        boot: BootArtifacts,
    ) -> Result<Built, PullError> {
        let fill = Fill {
            request,
            boot,
            builder: Arc::clone(&self.manager.options.rootfs),
        };
        let filled = reporting(self.progress, move |progress, cancel| {
            fill.fill(staging, progress, cancel)
        });
        filled.await.map_err(|error| match error {
            FillError::Rootfs(source) => PullError::Rootfs {
                name: self.name.clone(),
                source,
            },
            FillError::Io(source) => self.io(source),
        })
    }

    fn record(&self, id: ImageId, pulled: Pulled<'_>, report: &RootfsReport) -> Image {
        let directory = self.manager.options.directories.image(id);
        let now = self.manager.options.clock.now();
        Image {
            id,
            name: self.name.clone(),
            rootfs: directory.join(ROOTFS_FILE),
            boot: staged_boot_artifacts(&pulled.kernel.boot, &directory),
            artifact_directory: Some(directory),
            kernel: pulled.kernel.name,
            origin: ImageOrigin::Oci {
                reference: pulled.request.reference.to_string(),
                manifest: pulled.image.manifest,
            },
            run_config: pulled.image.run_config,
            sizes: report.sizes,
            package_hash: None,
            verdict: pulled.verdict,
            created: now,
            updated: now,
        }
    }

    pub(super) async fn publish(
        &self,
        staging: Staging,
        record: Image,
    ) -> Result<Image, PullError> {
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

    pub(super) fn io(&self, source: PathError) -> PullError {
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

/// Why a staging directory could not be filled.
enum FillError {
    Rootfs(RootfsError),
    Io(PathError),
}

/// Filling a staging directory, on a thread of its own.
struct Fill {
    request: RootfsRequest,
    boot: BootArtifacts,
    builder: Arc<dyn RootfsBuilder>,
}

impl Fill {
    fn fill(
        &self,
        staging: Staging,
        progress: &dyn ProgressSink,
        cancel: &CancellationToken,
    ) -> Result<Built, FillError> {
        let disk = staging.path().join(ROOTFS_FILE);
        let report = self.builder.build(&self.request, &disk, progress, cancel);
        let report = report.map_err(FillError::Rootfs)?;
        progress.emit(ProgressEvent::StagingKernel);
        stage_boot_artifacts(&self.boot, staging.path()).map_err(FillError::Io)?;
        sync_directory(staging.path()).map_err(FillError::Io)?;
        if cancel.is_cancelled() {
            return Err(FillError::Rootfs(RootfsError::Cancelled));
        }
        Ok(Built { staging, report })
    }
}
