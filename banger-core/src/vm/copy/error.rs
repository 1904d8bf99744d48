//! Why files could not be copied.

use banger_transfer::{Failure, TransferError};

use super::PlanError;
use crate::{
    ErrorKind,
    domain::{VmName, VmState},
    remote::RemoteError,
    vm::VmQueryError,
};

/// Why a guest could not read or write files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileFailure {
    /// The path does not exist.
    NotFound,
    /// A directory is needed, and something else is there.
    NotADirectory,
    /// A directory is there, and something else is needed.
    IsADirectory,
    /// The guest forbids it.
    PermissionDenied,
    /// The guest's disk, a quota or the inodes are used up.
    NoSpace,
    /// The archive is malformed, or an entry leads out of the directory.
    Invalid,
    /// A limit on paths, entries or size was exceeded.
    Limit,
    /// The stream ended before it was whole.
    Abandoned,
    /// Anything else.
    Other,
}

/// Files could not be copied between host and guest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The VM could not be looked up.
    #[error(transparent)]
    Query(#[from] VmQueryError),
    /// The VM does not run.
    #[error("VM {name} is {}: files are copied only while it runs", state.as_str())]
    NotRunning {
        /// The VM.
        name: VmName,
        /// The state.
        state: VmState,
    },
    /// Nobody of banger's is in the guest.
    #[error("VM {name} has no agent of banger's: it boots natively")]
    NoAgent {
        /// The VM.
        name: VmName,
    },
    /// The copy makes no sense.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The guest could not read or write its files.
    #[error("VM {name}: {message}")]
    Guest {
        /// The VM.
        name: VmName,
        /// Why.
        failure: FileFailure,
        /// The guest's words.
        message: String,
    },
    /// The host's files could not be read or written, or what the guest sent
    /// cannot be unpacked.
    #[error(transparent)]
    Host(TransferError),
    /// The stream that was to be written was given up.
    #[error("the tar stream ended before it was whole")]
    Abandoned,
    /// The VM runs with a guest program that cannot do this.
    #[error("VM {name} was started by an older banger, whose guest program cannot copy files")]
    AgentTooOld {
        /// The VM.
        name: VmName,
    },
    /// The VM went away.
    #[error("VM {name} went away while files were copied: {problem}")]
    VmLost {
        /// The VM.
        name: VmName,
        /// What was seen.
        problem: String,
    },
    /// The agent broke the protocol.
    #[error("the agent of VM {name} failed: {problem}")]
    Agent {
        /// The VM.
        name: VmName,
        /// What was seen.
        problem: String,
    },
    /// What a server said.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl CopyError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Remote(error) => error.kind(),
            Self::Query(error) => error.kind(),
            Self::NotRunning { .. } => ErrorKind::Conflict,
            Self::Plan(error) => error.kind(),
            Self::Guest { failure, .. } => failure.kind(),
            Self::Host(error) => kind_of_transfer(error.failure()),
            Self::Abandoned => ErrorKind::Cancelled,
            Self::NoAgent { .. } | Self::AgentTooOld { .. } => ErrorKind::Unsupported,
            Self::VmLost { .. } => ErrorKind::Unavailable,
            Self::Agent { .. } => ErrorKind::Internal,
        }
    }
}

impl PlanError {
    /// The classification of the failure.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::NoDirectory { .. } => ErrorKind::NotFound,
            Self::NotADirectory { .. } | Self::OntoOther { .. } => ErrorKind::InvalidInput,
        }
    }
}

impl FileFailure {
    /// Every failure.
    pub const ALL: [Self; 9] = [
        Self::NotFound,
        Self::NotADirectory,
        Self::IsADirectory,
        Self::PermissionDenied,
        Self::NoSpace,
        Self::Invalid,
        Self::Limit,
        Self::Abandoned,
        Self::Other,
    ];

    /// The failure's name, as machines read it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::NotADirectory => "not_a_directory",
            Self::IsADirectory => "is_a_directory",
            Self::PermissionDenied => "permission_denied",
            Self::NoSpace => "no_space",
            Self::Invalid => "invalid",
            Self::Limit => "limit",
            Self::Abandoned => "abandoned",
            Self::Other => "other",
        }
    }

    const fn kind(self) -> ErrorKind {
        match self {
            Self::NotFound => ErrorKind::NotFound,
            Self::NotADirectory | Self::IsADirectory => ErrorKind::Conflict,
            Self::PermissionDenied => ErrorKind::PermissionDenied,
            Self::NoSpace | Self::Limit => ErrorKind::ResourceExhausted,
            Self::Invalid => ErrorKind::InvalidInput,
            Self::Abandoned => ErrorKind::Cancelled,
            Self::Other => ErrorKind::Internal,
        }
    }
}

const fn kind_of_transfer(failure: Failure) -> ErrorKind {
    match failure {
        Failure::NotFound => ErrorKind::NotFound,
        Failure::NotADirectory | Failure::IsADirectory => ErrorKind::Conflict,
        Failure::PermissionDenied => ErrorKind::PermissionDenied,
        Failure::NoSpace | Failure::Limit => ErrorKind::ResourceExhausted,
        Failure::Invalid => ErrorKind::Corrupt,
        Failure::Broken => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    }
}
