//! Why files could not be read or written, and how the client is told.

use banger_proto::{FILE_FAILURE_METADATA, guest::v1::FileFailure};
use banger_transfer::{Failure, TransferError};
use tonic::{Code, Status, metadata::MetadataMap};

/// Longest message of a status, in bytes: it travels in a header.
const MESSAGE_LIMIT: usize = 1024;

/// A failed call.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    /// A tree could not be read or written.
    #[error("{}", with_cause(.0))]
    Transfer(#[from] TransferError),
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(&'static str),
    /// A path is too long.
    #[error("a path has at most {limit} bytes")]
    TooLong {
        /// The limit.
        limit: usize,
    },
    /// The client gave the stream up.
    #[error("the stream ended before it was whole")]
    Abandoned,
    /// The agent ends.
    #[error("the agent ended the work")]
    Interrupted,
}

fn with_cause(error: &TransferError) -> String {
    let cause = std::error::Error::source(error);
    cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

impl FileError {
    fn failure(&self) -> FileFailure {
        match self {
            Self::Transfer(error) => match error.failure() {
                Failure::NotFound => FileFailure::NotFound,
                Failure::NotADirectory => FileFailure::NotADirectory,
                Failure::IsADirectory => FileFailure::IsADirectory,
                Failure::PermissionDenied => FileFailure::PermissionDenied,
                Failure::NoSpace => FileFailure::NoSpace,
                Failure::Invalid => FileFailure::Invalid,
                Failure::Limit => FileFailure::Limit,
                Failure::Broken => FileFailure::Abandoned,
                _ => FileFailure::Other,
            },
            Self::Invalid(_) => FileFailure::Invalid,
            Self::TooLong { .. } => FileFailure::Limit,
            Self::Abandoned => FileFailure::Abandoned,
            Self::Interrupted => FileFailure::Other,
        }
    }

    fn code(&self) -> Code {
        match self.failure() {
            FileFailure::NotFound => Code::NotFound,
            FileFailure::NotADirectory | FileFailure::IsADirectory => Code::FailedPrecondition,
            FileFailure::PermissionDenied => Code::PermissionDenied,
            FileFailure::NoSpace | FileFailure::Limit => Code::ResourceExhausted,
            FileFailure::Invalid => Code::InvalidArgument,
            FileFailure::Abandoned => Code::Aborted,
            FileFailure::Unspecified | FileFailure::Other => Code::Unknown,
        }
    }
}

impl From<FileError> for Status {
    fn from(error: FileError) -> Self {
        let mut metadata = MetadataMap::new();
        metadata.insert(FILE_FAILURE_METADATA, (error.failure() as i32).into());
        let mut message = error.to_string();
        message.truncate(message.floor_char_boundary(MESSAGE_LIMIT));
        Self::with_metadata(error.code(), message, metadata)
    }
}
