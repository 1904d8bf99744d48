//! Pulling an OCI image, step by step (the numbers are those of the contract).
//!
//! Invariants: nothing is published before it is whole; whoever works on the
//! staging directory owns it, so it is removed only after the work on it
//! ended; publication runs to its end even when the caller is gone.

use std::{fs::File, sync::Arc};

use camino::Utf8Path;
use tokio_util::sync::CancellationToken;

use super::{
    LocalImageManager, PullError, PullRequest,
    artifacts::staged_boot_artifacts,
    local::{name_lock, publish_lock},
    stage_boot_artifacts, twin,
};
use crate::{
    domain::{
        BootArtifacts, Bytes, DiskMethod, DiskProvenance, Image, ImageId, ImageName, ImageOrigin,
        ImageSizes, ResolvedKernel,
    },
    host_fs::{
        FileLock, IoContext as _, PathError, Staging, copy_open_file, disk_usage,
        remove_tree_if_present, sync_directory,
    },
    oci::{ImageSource, ResolvedImage, SourceError},
    progress::{ProgressEvent, ProgressSink},
    rootfs::{ArrivingError, RootfsBuilder, RootfsError, RootfsRequest, build_while_arriving},
    step::reached,
    store::InsertError,
    task::{reporting, settle},
};

pub(super) const ROOTFS_FILE: &str = "rootfs.ext4";

pub(super) async fn pull(
    manager: &LocalImageManager,
    request: PullRequest,
    progress: &dyn ProgressSink,
) -> Result<Image, PullError> {
    pull_as(manager, request, |image| image, progress).await
}

/// Pulls an image and records what `revise` makes of its record.
pub(super) async fn pull_as(
    manager: &LocalImageManager,
    request: PullRequest,
    revise: impl FnOnce(Image) -> Image + Send,
    progress: &dyn ProgressSink,
) -> Result<Image, PullError> {
    let name = image_name(&request)?; // 2
    manager.name_is_free(&name).await?; // 3
    let kernel = resolve_kernel(manager, &request, &name).await?; // 4
    let pull = Pull {
        manager,
        request: &request,
        id: ImageId::generate(),
        name: &name,
        kernel: &kernel,
        progress,
    };
    let source = pull.open()?;
    let _name_lock = pull.lock_name().await?;
    manager.name_is_free(&name).await?;
    let image = pull.resolve(source.as_ref()).await?;
    let built = pull.make(source.as_ref(), &image).await?; // 6
    let record = pull.record(image, built.sizes, built.method);
    pull.publish(built.staging, revise(record)).await // 10, 11
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

/// One pull on its way.
struct Pull<'a> {
    manager: &'a LocalImageManager,
    request: &'a PullRequest,
    id: ImageId,
    name: &'a ImageName,
    kernel: &'a ResolvedKernel,
    progress: &'a dyn ProgressSink,
}

/// A staging directory with everything in it.
struct Built {
    staging: Staging,
    sizes: ImageSizes,
    method: DiskMethod,
}

/// Where the root disk comes from.
enum DiskSource {
    /// Layers.
    Layers(RootfsRequest),
    /// The disk of another image, which is the same.
    Twin(File),
}

impl Pull<'_> {
    fn open(&self) -> Result<Box<dyn ImageSource>, PullError> {
        let reference = &self.request.reference;
        self.progress.emit(ProgressEvent::Resolving {
            reference: reference.to_string(),
        });
        let opened = self.manager.options.sources.open(reference);
        opened.map_err(|source| self.source_failed(source))
    }

    async fn lock_name(&self) -> Result<FileLock, PullError> {
        let lock = name_lock(&self.manager.options.directories, self.name).await;
        lock.map_err(|source| PullError::Lock {
            name: self.name.clone(),
            source,
        })
    }

    async fn resolve(&self, source: &dyn ImageSource) -> Result<ResolvedImage, PullError> {
        let resolved = source.resolve(&self.manager.options.platform).await;
        let image = resolved.map_err(|source| self.source_failed(source))?;
        self.progress.emit(image.resolved_event());
        Ok(image)
    }

    /// A staging directory with everything in it: with the disk of another
    /// image where there is the same, else of layers, while they arrive.
    async fn make(
        &self,
        source: &dyn ImageSource,
        image: &ResolvedImage,
    ) -> Result<Built, PullError> {
        let twin = twin::find(self.manager, self.request, image).await;
        let twin = twin.map_err(|source| PullError::Store {
            name: self.name.clone(),
            source,
        })?;
        if let Some(twin) = twin {
            let cancel = CancellationToken::new();
            return self.build(DiskSource::Twin(twin), cancel).await;
        }
        let layers = source.stream_layers(&image.layers, self.progress).await;
        let layers = layers.map_err(|source| self.source_failed(source))?;
        let build = |layers, cancel| {
            let request = RootfsRequest {
                limits: self.manager.options.limits,
                size: self.request.size,
                created_unix: image.created_unix.unwrap_or(0),
                ..RootfsRequest::new(layers)
            };
            self.build(DiskSource::Layers(request), cancel)
        };
        let made = build_while_arriving(layers, build, PullError::kind).await;
        made.map_err(|error| match error {
            ArrivingError::Fetch(source) => self.source_failed(source),
            ArrivingError::Build(error) => error,
        })
    }

    async fn stage(&self) -> Result<Staging, PullError> {
        let directories = &self.manager.options.directories;
        let lock = publish_lock(directories).await;
        let _lock = lock.map_err(|source| PullError::Lock {
            name: self.name.clone(),
            source,
        })?;
        Staging::create(&directories.image(self.id)).map_err(|source| self.io(source))
    }

    /// Fills a staging directory on a thread of its own, which owns the
    /// directory meanwhile; dropping the future cancels the thread's work.
    async fn build(&self, disk: DiskSource, cancel: CancellationToken) -> Result<Built, PullError> {
        let fill = Fill {
            disk,
            boot: self.kernel.boot.clone(),
            builder: Arc::clone(&self.manager.options.rootfs),
        };
        let staging = self.stage().await?; // 5
        let filled = reporting(self.progress, &cancel, move |progress, cancel| {
            fill.fill(staging, progress, cancel) // 7, 8, 9
        });
        filled.await.map_err(|error| match error {
            FillError::Rootfs(source) => PullError::Rootfs {
                name: self.name.clone(),
                source,
            },
            FillError::Io(source) => self.io(source),
        })
    }

    fn record(&self, image: ResolvedImage, sizes: ImageSizes, method: DiskMethod) -> Image {
        let directory = self.manager.options.directories.image(self.id);
        let now = self.manager.options.clock.now();
        Image {
            id: self.id,
            name: self.name.clone(),
            rootfs: directory.join(ROOTFS_FILE),
            boot: staged_boot_artifacts(&self.kernel.boot, &directory),
            artifact_directory: Some(directory),
            kernel: self.kernel.name.clone(),
            origin: ImageOrigin::Oci {
                reference: self.request.reference.to_string(),
                manifest: image.manifest,
            },
            run_config: image.run_config,
            sizes,
            package_hash: None,
            disk: DiskProvenance {
                method: Some(method),
                recipe: Some(twin::recipe(self.request)),
                layers: image.layers.iter().map(|it| it.digest).collect(),
            },
            created: now,
            updated: now,
        }
    }

    async fn publish(&self, staging: Staging, record: Image) -> Result<Image, PullError> {
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

    fn source_failed(&self, source: SourceError) -> PullError {
        PullError::Source {
            name: self.name.clone(),
            source,
        }
    }

    fn io(&self, source: PathError) -> PullError {
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
    disk: DiskSource,
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
        let (sizes, method) = self.fill_disk(&disk, progress, cancel)?;
        reached("made a root disk");
        progress.emit(ProgressEvent::StagingKernel);
        stage_boot_artifacts(&self.boot, staging.path()).map_err(FillError::Io)?;
        sync_directory(staging.path()).map_err(FillError::Io)?;
        if cancel.is_cancelled() {
            return Err(FillError::Rootfs(RootfsError::Cancelled));
        }
        Ok(Built {
            staging,
            sizes,
            method,
        })
    }

    fn fill_disk(
        &self,
        disk: &Utf8Path,
        progress: &dyn ProgressSink,
        cancel: &CancellationToken,
    ) -> Result<(ImageSizes, DiskMethod), FillError> {
        match &self.disk {
            DiskSource::Layers(request) => {
                let built = self.builder.build(request, disk, progress, cancel);
                let report = built.map_err(FillError::Rootfs)?;
                Ok((report.sizes, DiskMethod::Written))
            }
            DiskSource::Twin(twin) => {
                let is_cancelled = || cancel.is_cancelled();
                let method = copy_open_file(twin, disk, &is_cancelled).map_err(FillError::Io)?;
                let length = twin
                    .metadata()
                    .at("inspect", disk)
                    .map_err(FillError::Io)?
                    .len();
                let sizes = ImageSizes {
                    apparent: Bytes::new(length),
                    on_disk: disk_usage(disk).map_err(FillError::Io)?,
                };
                Ok((sizes, method.into()))
            }
        }
    }
}
