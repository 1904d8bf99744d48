//! Why an image could not be saved.

use std::io;

use camino::Utf8PathBuf;

use crate::{
    ErrorKind,
    disk::DiskError,
    domain::ImageName,
    host_fs::{OutputProblem, PathError},
    image::ImageQueryError,
    remote::RemoteError,
};

/// An image could not be saved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError {
    /// It could not be looked up.
    #[error(transparent)]
    Query(#[from] ImageQueryError),
    /// Its disk cannot be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Something on its disk has no form in the archive.
    #[error("{path:?} on {disk} cannot be saved: {problem}")]
    Unrepresentable {
        /// The disk's file.
        disk: Utf8PathBuf,
        /// The path on it, escaped.
        path: String,
        /// Why.
        problem: &'static str,
    },
    /// Its disk claims more content than any image may have.
    #[error("the content of {disk} exceeds the limit of {limit}")]
    TooLarge {
        /// The disk's file.
        disk: Utf8PathBuf,
        /// The limit, and of what it is one.
        limit: String,
    },
    /// Somebody wrote to its disk meanwhile.
    #[error("the root disk of image {name} was changed while it was read")]
    Changed {
        /// The image.
        name: ImageName,
    },
    /// There is something in the output's place.
    #[error("{output} exists already")]
    AlreadyExists {
        /// The output.
        output: Utf8PathBuf,
    },
    /// Somebody else writes the same file.
    #[error("{output} is being written by another process")]
    Busy {
        /// The output.
        output: Utf8PathBuf,
    },
    /// A host file failed.
    #[error("failed to save image {name}")]
    Io {
        /// The image.
        name: ImageName,
        /// The cause.
        source: PathError,
    },
    /// The output does not take it.
    #[error("failed to write the saved image")]
    Output(#[source] io::Error),
    /// The caller gave it up.
    #[error("saving was given up")]
    Cancelled,
    /// What a server said.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl SaveError {
    /// What an output's problem is for that image.
    #[must_use]
    pub fn of_output(image: &ImageName, problem: OutputProblem) -> Self {
        match problem {
            OutputProblem::Taken(output) => Self::AlreadyExists { output },
            OutputProblem::Busy(output) => Self::Busy { output },
            OutputProblem::File(source) => Self::Io {
                name: image.clone(),
                source,
            },
            OutputProblem::Write(error) => Self::Output(error),
        }
    }

    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Remote(error) => error.kind(),
            Self::Query(error) => error.kind(),
            Self::Disk(error) => error.kind(),
            Self::Unrepresentable { .. } => ErrorKind::Unsupported,
            Self::TooLarge { .. } => ErrorKind::ResourceExhausted,
            Self::Changed { .. } | Self::Busy { .. } => ErrorKind::Conflict,
            Self::AlreadyExists { .. } => ErrorKind::AlreadyExists,
            Self::Io { source, .. } => source.kind(),
            Self::Output(error) => ErrorKind::of_io(error),
            Self::Cancelled => ErrorKind::Cancelled,
        }
    }
}
