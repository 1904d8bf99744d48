//! Why a process could not be started, and how the client is told.

use std::io;

use banger_proto::{SPAWN_FAILURE_METADATA, guest::v1::SpawnFailure};
use rustix::io::Errno;
use tonic::{Code, Status, metadata::MetadataMap};

use super::accounts::UnknownAccount;
use crate::sys::child::{Fault, Step};

/// Longest message of a status, in bytes: it travels in a header.
const MESSAGE_LIMIT: usize = 1024;

/// A process that was not started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpawnError {
    /// There is no such program.
    #[error("{program}: no such program in the machine")]
    NotFound {
        /// As it was asked for.
        program: String,
    },
    /// The program cannot be run.
    #[error("{program}: cannot be executed: {source}")]
    NotExecutable {
        /// As it was asked for.
        program: String,
        /// The cause.
        source: io::Error,
    },
    /// What the program asks to be run by is missing.
    #[error("{program}: cannot be executed: its interpreter does not exist")]
    NoInterpreter {
        /// As it was asked for.
        program: String,
    },
    /// The working directory cannot be entered.
    #[error("working directory {directory}: {source}")]
    WorkingDirectory {
        /// The directory.
        directory: String,
        /// The cause.
        source: io::Error,
    },
    /// The user or group does not exist.
    #[error(transparent)]
    Account(#[from] UnknownAccount),
    /// The request makes no sense.
    #[error("invalid request: {reason}")]
    Invalid {
        /// What is wrong with it.
        reason: String,
    },
    /// The machine lacks the means.
    #[error("cannot {action}: {source}")]
    Resources {
        /// What failed.
        action: &'static str,
        /// The cause.
        source: io::Error,
    },
}

impl SpawnError {
    pub(super) fn invalid(reason: impl Into<String>) -> Self {
        Self::Invalid {
            reason: reason.into(),
        }
    }

    pub(super) fn resources(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Resources { action, source }
    }

    /// What a child's report means.
    pub(super) fn of_fault(fault: Fault, program: String, directory: String) -> Self {
        let source = io::Error::from(fault.errno);
        match fault.step {
            Step::Setup => Self::resources("set up the process")(source),
            Step::Identity => Self::resources("become the user")(source),
            Step::WorkingDirectory => Self::WorkingDirectory { directory, source },
            Step::Interpreter => Self::NoInterpreter { program },
            Step::Program => Self::of_exec(fault.errno, program),
        }
    }

    /// What a failed execve(2) means.
    fn of_exec(errno: Errno, program: String) -> Self {
        let source = io::Error::from(errno);
        match errno {
            Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::LOOP => {
                Self::NotFound { program }
            }
            Errno::TOOBIG => Self::invalid("arguments and environment are too long"),
            Errno::NOMEM | Errno::AGAIN | Errno::MFILE | Errno::NFILE => {
                Self::resources("run the program")(source)
            }
            _ => Self::NotExecutable { program, source },
        }
    }

    /// The failure's number in the protocol.
    pub(crate) fn kind(&self) -> SpawnFailure {
        match self {
            Self::NotFound { .. } => SpawnFailure::NotFound,
            Self::NotExecutable { .. } | Self::NoInterpreter { .. } => SpawnFailure::NotExecutable,
            Self::WorkingDirectory { .. } => SpawnFailure::BadWorkingDirectory,
            Self::Account(_) => SpawnFailure::UnknownUser,
            Self::Invalid { .. } => SpawnFailure::InvalidRequest,
            Self::Resources { .. } => SpawnFailure::Resources,
        }
    }

    fn code(&self) -> Code {
        match self.kind() {
            SpawnFailure::NotFound => Code::NotFound,
            SpawnFailure::InvalidRequest => Code::InvalidArgument,
            SpawnFailure::Resources => Code::ResourceExhausted,
            SpawnFailure::NotExecutable
            | SpawnFailure::BadWorkingDirectory
            | SpawnFailure::UnknownUser => Code::FailedPrecondition,
            SpawnFailure::Unspecified => Code::Unknown,
        }
    }
}

impl From<SpawnError> for Status {
    fn from(error: SpawnError) -> Self {
        let mut metadata = MetadataMap::new();
        metadata.insert(SPAWN_FAILURE_METADATA, (error.kind() as i32).into());
        Self::with_metadata(error.code(), shortened(error.to_string()), metadata)
    }
}

fn shortened(mut message: String) -> String {
    let end = message.floor_char_boundary(MESSAGE_LIMIT);
    message.truncate(end);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exec_error_names_its_kind() {
        for (errno, kind) in [
            (Errno::NOENT, SpawnFailure::NotFound),
            (Errno::ACCESS, SpawnFailure::NotExecutable),
            (Errno::NOEXEC, SpawnFailure::NotExecutable),
            (Errno::TXTBSY, SpawnFailure::NotExecutable),
            (Errno::TOOBIG, SpawnFailure::InvalidRequest),
            (Errno::NOMEM, SpawnFailure::Resources),
        ] {
            assert_eq!(SpawnError::of_exec(errno, String::new()).kind(), kind);
        }
    }

    #[test]
    fn a_status_is_short_and_numbered() {
        let status = Status::from(SpawnError::NotFound {
            program: "ü".repeat(5000),
        });
        assert!(status.message().len() <= MESSAGE_LIMIT);
        let number = status.metadata().get(SPAWN_FAILURE_METADATA).unwrap();
        assert_eq!(number.to_str().unwrap(), "1");
    }
}
