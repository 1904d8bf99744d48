//! From an image's source to a disk file, without store or kernel.
//!
//! The disk is built as `<output>.partial` and renamed once it is whole. A
//! build that is killed leaves that file, which the next build of the same
//! output removes; one that somebody works on is locked.

use std::{
    io,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use camino::{Utf8Path, Utf8PathBuf};
use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;

use super::{
    ArrivingError, RootfsBuilder, RootfsError, RootfsLimits, RootfsReport, RootfsRequest,
    RootfsResources, build_while_arriving,
};
use crate::{
    ErrorKind,
    domain::Bytes,
    host_fs::{FileLock, IoContext as _, PathError, StagedFile},
    oci::{
        ArrivingLayers, ImageReference, ImageSources, LayerBlob, Platform, ResolvedImage,
        SourceError,
    },
    progress::{ProgressEvent, ProgressSink},
    task::{off_thread, reporting},
};

/// What to build, and of what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildRequest {
    /// The image.
    pub reference: ImageReference,
    /// For which platform.
    pub platform: Platform,
    /// Where the disk goes. It must not exist.
    pub output: Utf8PathBuf,
    /// Its size; max(content x 1.25, 1 GiB) when none is given.
    pub size: Option<Bytes>,
    /// Whether it has a journal.
    pub journal: bool,
    /// What the work may use.
    pub resources: RootfsResources,
    /// Bounds on what the layers may claim.
    pub limits: RootfsLimits,
}

/// A disk that was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltRootfs {
    /// The image it was built of.
    pub image: ResolvedImage,
    /// What it became.
    pub report: RootfsReport,
    /// How long it took to find the image.
    pub resolving: Duration,
    /// How long it took until all its blobs were at hand. The disk is built
    /// meanwhile.
    pub fetching: Duration,
}

/// A disk could not be built of an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The image cannot be read.
    #[error("failed to build {output}")]
    Source {
        /// The disk's file.
        output: Utf8PathBuf,
        /// The cause.
        source: SourceError,
    },
    /// The disk could not be built.
    #[error("failed to build {output}")]
    Rootfs {
        /// The disk's file.
        output: Utf8PathBuf,
        /// The cause.
        source: RootfsError,
    },
    /// There is something in the disk's place.
    #[error("{output} exists already")]
    AlreadyExists {
        /// The disk's file.
        output: Utf8PathBuf,
    },
    /// Somebody else builds the same file.
    #[error("{output} is being built by another process")]
    Busy {
        /// The disk's file.
        output: Utf8PathBuf,
    },
    /// A host file failed.
    #[error("failed to build {output}")]
    Io {
        /// The disk's file.
        output: Utf8PathBuf,
        /// The cause.
        source: PathError,
    },
}

impl BuildError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Source { source, .. } => source.kind(),
            Self::Rootfs { source, .. } => source.kind(),
            Self::AlreadyExists { .. } => ErrorKind::AlreadyExists,
            Self::Busy { .. } => ErrorKind::Conflict,
            Self::Io { source, .. } => source.kind(),
        }
    }
}

/// Builds a disk of an image. Cancelling leaves nothing at the output, and at
/// most a moment's work to be finished and removed again.
pub async fn build_from_source(
    sources: &dyn ImageSources,
    builder: Arc<dyn RootfsBuilder>,
    request: BuildRequest,
    progress: &dyn ProgressSink,
) -> Result<BuiltRootfs, BuildError> {
    refuse_existing(&request.output)?;
    let failed = |source| BuildError::Source {
        output: request.output.clone(),
        source,
    };
    let started = Instant::now();
    progress.emit(ProgressEvent::Resolving {
        reference: request.reference.to_string(),
    });
    let source = sources.open(&request.reference).map_err(failed)?;
    let image = source.resolve(&request.platform).await.map_err(failed)?;
    progress.emit(image.resolved_event());
    let resolved = Instant::now();
    let layers = source.stream_layers(&image.layers, progress);
    let (layers, fetched) = timed(layers.await.map_err(failed)?);
    let build = |layers, cancel| build(&request, &image, layers, &builder, (progress, cancel));
    let made = build_while_arriving(layers, build, BuildError::kind).await;
    let (disk, report) = made.map_err(|error| match error {
        ArrivingError::Fetch(source) => failed(source),
        ArrivingError::Build(error) => error,
    })?;
    let output = request.output.clone();
    off_thread(move || publish(disk, &output)).await?;
    let fetched = *fetched.get().unwrap_or(&resolved);
    Ok(BuiltRootfs {
        report,
        image,
        resolving: resolved - started,
        fetching: fetched - resolved,
    })
}

/// Builds the disk beside its output, on a thread of its own.
async fn build(
    request: &BuildRequest,
    image: &ResolvedImage,
    layers: Vec<LayerBlob>,
    builder: &Arc<dyn RootfsBuilder>,
    (progress, cancel): (&dyn ProgressSink, CancellationToken),
) -> Result<(StagedFile, RootfsReport), BuildError> {
    let disk = RootfsRequest {
        size: request.size,
        created_unix: image.created_unix.unwrap_or(0),
        journal: request.journal,
        resources: request.resources,
        limits: request.limits,
        ..RootfsRequest::new(layers)
    };
    let (builder, output) = (Arc::clone(builder), request.output.clone());
    let work = move |progress: &dyn ProgressSink, cancel: &CancellationToken| {
        let build = |partial: &Utf8Path| builder.build(&disk, partial, progress, cancel);
        build_beside(&output, build)
    };
    reporting(progress, &cancel, work).await
}

/// Layers that note when the last one has arrived.
fn timed(layers: ArrivingLayers<'_>) -> (ArrivingLayers<'_>, Arc<OnceLock<Instant>>) {
    let ended = Arc::new(OnceLock::new());
    let note = Arc::clone(&ended);
    let fetching = layers.fetching.inspect(move |_| {
        note.get_or_init(Instant::now);
    });
    let layers = ArrivingLayers {
        blobs: layers.blobs,
        fetching: fetching.boxed(),
    };
    (layers, ended)
}

fn refuse_existing(output: &Utf8Path) -> Result<(), BuildError> {
    match output.symlink_metadata() {
        Ok(_) => Err(BuildError::AlreadyExists {
            output: output.to_owned(),
        }),
        Err(_) => Ok(()),
    }
}

/// Builds the disk as the partial file of its output.
fn build_beside(
    output: &Utf8Path,
    build: impl FnOnce(&Utf8Path) -> Result<RootfsReport, RootfsError>,
) -> Result<(StagedFile, RootfsReport), BuildError> {
    let partial = Utf8PathBuf::from(format!("{output}.partial"));
    let failed = |source| io_failed(output, source);
    let busy = || BuildError::Busy {
        output: output.to_owned(),
    };
    if !remove_abandoned(&partial).map_err(failed)? {
        return Err(busy());
    }
    let report = build(&partial).map_err(|source| match source.kind() {
        ErrorKind::AlreadyExists => busy(),
        _ => BuildError::Rootfs {
            output: output.to_owned(),
            source,
        },
    })?;
    // somebody may have taken it for abandoned, now that it is not built any more
    let disk = StagedFile::adopt(output).map_err(failed)?;
    Ok((disk.ok_or_else(busy)?, report))
}

/// Moves the disk into its place.
fn publish(disk: StagedFile, output: &Utf8Path) -> Result<(), BuildError> {
    disk.publish().map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => BuildError::AlreadyExists {
            output: output.to_owned(),
        },
        _ => io_failed(output, error),
    })
}

fn io_failed(output: &Utf8Path, source: PathError) -> BuildError {
    BuildError::Io {
        output: output.to_owned(),
        source,
    }
}

/// Removes what a killed build left; false when somebody works on it.
fn remove_abandoned(partial: &Utf8Path) -> Result<bool, PathError> {
    match FileLock::try_acquire_existing(partial) {
        Ok(Some(_lock)) => {
            std::fs::remove_file(partial).at("remove", partial)?;
            Ok(true)
        }
        Ok(None) => Ok(false),
        Err(error) if error.io_error().kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}
