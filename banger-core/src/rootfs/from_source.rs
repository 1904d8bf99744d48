//! From an image's source to a disk file, without store or kernel.
//!
//! The disk is built as `<output>.partial` and renamed once it is whole. A
//! build that is killed leaves that file, which the next build of the same
//! output removes; one that somebody works on is locked.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use camino::{Utf8Path, Utf8PathBuf};

use super::{
    RootfsBuilder, RootfsError, RootfsLimits, RootfsReport, RootfsRequest, RootfsResources,
};
use crate::{
    ErrorKind,
    domain::Bytes,
    host_fs::{
        FileLock, IoContext as _, PathError, publish_file, remove_tree_if_present, sync_directory,
    },
    oci::{ImageReference, ImageSources, Platform, ResolvedImage, SourceError},
    progress::{ProgressEvent, ProgressSink},
    task::reporting,
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
    /// How long it took to have its blobs at hand.
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
    let output = request.output.clone();
    refuse_existing(&output)?;
    let failed = |source| BuildError::Source {
        output: output.clone(),
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
    let layers = source.fetch_layers(&image.layers, progress);
    let layers = layers.await.map_err(failed)?;
    let fetching = resolved.elapsed();
    let disk = RootfsRequest {
        size: request.size,
        created_unix: image.created_unix.unwrap_or(0),
        journal: request.journal,
        resources: request.resources,
        limits: request.limits,
        ..RootfsRequest::new(layers)
    };
    let report = reporting(progress, move |progress, cancel| {
        build_and_publish(&output, |partial| {
            builder.build(&disk, partial, progress, cancel)
        })
    });
    Ok(BuiltRootfs {
        report: report.await?,
        image,
        resolving: resolved - started,
        fetching,
    })
}

fn refuse_existing(output: &Utf8Path) -> Result<(), BuildError> {
    match output.symlink_metadata() {
        Ok(_) => Err(BuildError::AlreadyExists {
            output: output.to_owned(),
        }),
        Err(_) => Ok(()),
    }
}

/// Builds beside the output and moves the whole disk into place.
fn build_and_publish(
    output: &Utf8Path,
    build: impl FnOnce(&Utf8Path) -> Result<RootfsReport, RootfsError>,
) -> Result<RootfsReport, BuildError> {
    let failed = |source| BuildError::Io {
        output: output.to_owned(),
        source,
    };
    let busy = || BuildError::Busy {
        output: output.to_owned(),
    };
    let partial = Utf8PathBuf::from(format!("{output}.partial"));
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
    if let Err(error) = publish_file(&partial, output) {
        drop(remove_tree_if_present(&partial));
        return Err(match error.kind() {
            ErrorKind::AlreadyExists => BuildError::AlreadyExists {
                output: output.to_owned(),
            },
            _ => failed(error),
        });
    }
    let parent = output.parent().filter(|parent| *parent != "");
    sync_directory(parent.unwrap_or_else(|| ".".into())).map_err(failed)?;
    Ok(report)
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
