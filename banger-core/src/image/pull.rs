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
    admission::{admit, vouch},
    artifacts::staged_boot_artifacts,
    keep::{Keeper, ROOTFS_FILE},
    stage_boot_artifacts, twin,
};
use crate::{
    domain::{
        BootArtifacts, Bytes, Digest, DiskMethod, DiskProvenance, Image, ImageId, ImageName,
        ImageOrigin, ImageSizes, ResolvedKernel,
    },
    host_fs::{IoContext as _, PathError, Staging, copy_open_file, disk_usage, sync_directory},
    oci::{ImageSource, ResolvedImage, SourceError},
    progress::{ProgressEvent, ProgressSink},
    rootfs::{ArrivingError, RootfsBuilder, RootfsError, RootfsRequest, build_while_arriving},
    step::reached,
    task::reporting,
};

pub(super) async fn pull(
    manager: &LocalImageManager,
    request: PullRequest,
    progress: &dyn ProgressSink,
) -> Result<Image, PullError> {
    let name = image_name(&request)?; // 2
    manager.name_is_free(&name).await?; // 3
    let admission = admit(manager, &request, &name)?;
    let kernel = resolve_kernel(manager, &request, &name, progress).await?; // 4
    let keeper = Keeper {
        manager,
        name: &name,
    };
    let pull = Pull {
        keeper,
        request: &request,
        id: ImageId::generate(),
        kernel: &kernel,
        progress,
    };
    let source = pull.open()?;
    let _name_lock = keeper.lock_name().await?;
    manager.name_is_free(&name).await?;
    let image = pull.resolve(source.as_ref()).await?;
    let verdict = vouch(&admission, source.as_ref(), &image, &name).await?;
    let built = pull.make(source.as_ref(), &image).await?; // 6
    let record = Image {
        verdict,
        ..pull.record(image, built.sizes, built.method)
    };
    keeper.publish(built.staging, record).await // 10, 11
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
    progress: &dyn ProgressSink,
) -> Result<ResolvedKernel, PullError> {
    let resolved = manager
        .options
        .kernels
        .resolve(&request.kernel, progress)
        .await;
    resolved.map_err(|source| PullError::Kernel {
        name: name.clone(),
        source,
    })
}

/// One pull on its way.
struct Pull<'a> {
    keeper: Keeper<'a>,
    request: &'a PullRequest,
    id: ImageId,
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
        let opened = self.keeper.manager.options.sources.open(reference);
        opened.map_err(|source| self.source_failed(source))
    }

    async fn resolve(&self, source: &dyn ImageSource) -> Result<ResolvedImage, PullError> {
        let resolved = source.resolve(&self.keeper.manager.options.platform).await;
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
        let twin = twin::find(self.keeper.manager, self.request, image).await;
        let twin = twin.map_err(|source| PullError::Store {
            name: self.keeper.name.clone(),
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
                limits: self.keeper.manager.options.limits,
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

    /// Fills a staging directory on a thread of its own, which owns the
    /// directory meanwhile; dropping the future cancels the thread's work.
    async fn build(&self, disk: DiskSource, cancel: CancellationToken) -> Result<Built, PullError> {
        let fill = Fill {
            disk,
            boot: self.kernel.boot.clone(),
            builder: Arc::clone(&self.keeper.manager.options.rootfs),
        };
        let staging = self.keeper.stage(self.id).await?; // 5
        let filled = reporting(self.progress, &cancel, move |progress, cancel| {
            fill.fill(staging, progress, cancel) // 7, 8, 9
        });
        filled.await.map_err(|error| match error {
            FillError::Rootfs(source) => PullError::Rootfs {
                name: self.keeper.name.clone(),
                source,
            },
            FillError::Io(source) => self.keeper.io(source),
        })
    }

    fn record(&self, image: ResolvedImage, sizes: ImageSizes, method: DiskMethod) -> Image {
        let directory = self.keeper.manager.options.directories.image(self.id);
        let now = self.keeper.manager.options.clock.now();
        Image {
            id: self.id,
            name: self.keeper.name.clone(),
            rootfs: directory.join(ROOTFS_FILE),
            boot: staged_boot_artifacts(&self.kernel.boot, &directory),
            artifact_directory: Some(directory),
            kernel: self.kernel.name.clone(),
            origin: self.origin(image.manifest),
            run_config: image.run_config,
            sizes,
            package_hash: None,
            disk: DiskProvenance {
                method: Some(method),
                recipe: Some(twin::recipe(self.request)),
                layers: image.layers.iter().map(|it| it.digest).collect(),
            },
            verdict: None,
            created: now,
            updated: now,
        }
    }

    fn origin(&self, manifest: Digest) -> ImageOrigin {
        match &self.request.containerfile {
            Some(path) => ImageOrigin::Containerfile {
                path: path.clone(),
                manifest,
            },
            None => ImageOrigin::Oci {
                reference: self.request.reference.to_string(),
                manifest,
            },
        }
    }

    fn source_failed(&self, source: SourceError) -> PullError {
        PullError::Source {
            name: self.keeper.name.clone(),
            source,
        }
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
