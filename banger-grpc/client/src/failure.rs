//! What went wrong, in the core's terms.

use std::{collections::HashMap, error::Error as _, fmt, time::Duration};

use banger_api::{
    ERROR_DOMAIN, reason,
    v1::{self, ErrorReason, Operation, OperationState, operation::Outcome},
};
use banger_core::ErrorKind;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// A call failed, or the operation that it began.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct Failure {
    /// What sort of failure it is: what the core would have answered.
    pub kind: ErrorKind,
    /// Why; none when no server of banger's said so.
    pub reason: Option<ErrorReason>,
    /// Why, for people.
    pub message: String,
    /// Facts of the reason.
    pub facts: HashMap<String, String>,
    /// When the server says that it makes sense to try again.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// Whether the same request may succeed later without a change.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self.reason {
            Some(ErrorReason::TooManyCalls) => true,
            Some(reason) => reason::code(reason) == Code::Unavailable,
            // the connection broke, in one of the ways in which that shows
            None => matches!(self.kind, ErrorKind::Unavailable | ErrorKind::Internal),
        }
    }

    /// A failure of this side.
    pub(crate) fn own(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            reason: None,
            message: message.into(),
            facts: HashMap::new(),
            retry_after: None,
        }
    }

    pub(crate) fn no_endpoint(place: &str, problem: &dyn fmt::Display) -> Self {
        let message = format!("{place} cannot be a server's endpoint: {problem}");
        Self::own(ErrorKind::InvalidInput, message)
    }

    /// Nobody of banger's answered there.
    pub(crate) fn unreached(place: &str, status: Status) -> Self {
        let words = status
            .source()
            .map_or_else(|| status.message().to_owned(), banger_core::error::in_words);
        let failure = Self::from(status);
        match failure.reason {
            Some(_) => failure,
            None => Self::own(
                ErrorKind::Unavailable,
                format!("the service at {place} cannot be reached: {words}"),
            ),
        }
    }

    pub(crate) fn no_token() -> Self {
        Self::own(
            ErrorKind::InvalidInput,
            "the token is none that can be sent",
        )
    }

    pub(crate) fn no_operation() -> Self {
        Self::own(ErrorKind::Internal, "the server's answer has no operation")
    }

    /// A stream ended before it was over.
    pub(crate) fn cut() -> Self {
        Self::own(ErrorKind::Unavailable, "the stream ended too early")
    }

    /// The server broke the protocol.
    pub(crate) fn confused(name: &str, problem: &str) -> Self {
        let message = format!("the server's answers about {name} make no sense: {problem}");
        Self::own(ErrorKind::Internal, message)
    }

    pub(crate) fn out_of_time(last: Option<Self>) -> Self {
        let message = match last {
            Some(last) => format!("no success in time: {last}"),
            None => "no answer in time".to_owned(),
        };
        Self::own(ErrorKind::Timeout, message)
    }

    /// Why an operation did not do what was asked; none when it did, or may still.
    pub(crate) fn of_operation(operation: &Operation) -> Option<Self> {
        let name = &operation.name;
        match (operation.state(), &operation.outcome) {
            (OperationState::Succeeded | OperationState::Running, _) => None,
            (OperationState::Cancelled, _) => {
                let message = format!("{name} was cancelled");
                Some(Self::own(ErrorKind::Cancelled, message))
            }
            (_, Some(Outcome::Failure(failure))) => Some(Self::from(failure.clone())),
            _ => Some(Self::own(ErrorKind::Internal, format!("{name} failed"))),
        }
    }

    fn told(
        code: Code,
        reason: Option<ErrorReason>,
        message: &str,
        facts: HashMap<String, String>,
    ) -> Self {
        let reason = reason.filter(|reason| *reason != ErrorReason::Unspecified);
        Self {
            kind: reason.map_or_else(|| kind_of_code(code), kind_of_reason),
            reason,
            message: message.to_owned(),
            facts,
            retry_after: None,
        }
    }
}

impl From<v1::Failure> for Failure {
    fn from(failure: v1::Failure) -> Self {
        let (code, reason) = (Code::from(failure.code), failure.reason());
        let facts = failure.metadata.into_iter().collect();
        Self::told(code, Some(reason), &failure.message, facts)
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        let info = details
            .error_info()
            .filter(|info| info.domain == ERROR_DOMAIN);
        let reason = info.and_then(|info| reason::of_name(&info.reason));
        let facts = info.map(|info| info.metadata.clone()).unwrap_or_default();
        let retry = details.retry_info().and_then(|retry| retry.retry_delay);
        Self {
            retry_after: retry,
            ..Self::told(status.code(), reason, status.message(), facts)
        }
    }
}

/// The kind of the core's failure that a reason stands for.
#[must_use]
#[expect(clippy::too_many_lines, reason = "a table with a line for each reason")]
pub const fn kind_of_reason(reason: ErrorReason) -> ErrorKind {
    match reason {
        ErrorReason::ObjectNotFound
        | ErrorReason::VmNotFound
        | ErrorReason::ImageNotFound
        | ErrorReason::KernelNotFound
        | ErrorReason::NotInCatalog
        | ErrorReason::OperationNotFound
        | ErrorReason::ExecNotFound
        | ErrorReason::SessionNotFound
        | ErrorReason::SnapshotNotFound
        | ErrorReason::ExecProgramNotFound
        | ErrorReason::FileNotFound
        | ErrorReason::VolumeNotFound
        | ErrorReason::UploadNotFound
        | ErrorReason::WatchExpired => ErrorKind::NotFound,
        ErrorReason::ObjectExists
        | ErrorReason::VmExists
        | ErrorReason::ImageExists
        | ErrorReason::KernelExists
        | ErrorReason::VolumeExists
        | ErrorReason::RequestIdReused => ErrorKind::AlreadyExists,
        ErrorReason::InvalidRequest
        | ErrorReason::ExecBadWorkingDirectory
        | ErrorReason::ExecUnknownUser
        | ErrorReason::ExecBeyondOutput => ErrorKind::InvalidInput,
        ErrorReason::PeerUnauthenticated | ErrorReason::CallerUnauthenticated => {
            ErrorKind::Unauthenticated
        }
        ErrorReason::Forbidden
        | ErrorReason::OutOfScope
        | ErrorReason::PolicyRefused
        | ErrorReason::ExecNotExecutable
        | ErrorReason::FileForbidden => ErrorKind::PermissionDenied,
        ErrorReason::PeerUnavailable
        | ErrorReason::ServerStarting
        | ErrorReason::ServerDraining
        | ErrorReason::VmLost
        | ErrorReason::PortRefused
        | ErrorReason::PortBroken => ErrorKind::Unavailable,
        ErrorReason::HostExhausted
        | ErrorReason::HostFull
        | ErrorReason::QuotaExceeded
        | ErrorReason::GuestDiskFull
        | ErrorReason::TooManyCalls => ErrorKind::ResourceExhausted,
        ErrorReason::WrongState
        | ErrorReason::VmBusy
        | ErrorReason::VmWrongState
        | ErrorReason::VmChanged
        | ErrorReason::VmLeaseOver
        | ErrorReason::SessionOver
        | ErrorReason::HostPortTaken
        | ErrorReason::ImageInUse
        | ErrorReason::KernelInUse
        | ErrorReason::VolumeInUse
        | ErrorReason::KernelBusy
        | ErrorReason::ExecTakenOver
        | ErrorReason::UploadTakenOver
        | ErrorReason::FileWrongKind => ErrorKind::Conflict,
        ErrorReason::CorruptData => ErrorKind::Corrupt,
        ErrorReason::WorkTimedOut => ErrorKind::Timeout,
        ErrorReason::Capability | ErrorReason::HostNoBackend => ErrorKind::Unsupported,
        ErrorReason::Cancelled => ErrorKind::Cancelled,
        ErrorReason::Unspecified
        | ErrorReason::Internal
        | ErrorReason::OperationInterrupted
        | ErrorReason::VmBootFailed
        | ErrorReason::MonitorFailed
        | ErrorReason::AgentFailed => ErrorKind::Internal,
    }
}

/// The kind of a failure of which nothing but the code is known.
const fn kind_of_code(code: Code) -> ErrorKind {
    match code {
        Code::NotFound => ErrorKind::NotFound,
        Code::AlreadyExists => ErrorKind::AlreadyExists,
        Code::InvalidArgument | Code::OutOfRange => ErrorKind::InvalidInput,
        Code::Unauthenticated => ErrorKind::Unauthenticated,
        Code::PermissionDenied => ErrorKind::PermissionDenied,
        // a connection that breaks ends its calls as cancelled or unknown
        Code::Unavailable | Code::Unknown | Code::Cancelled => ErrorKind::Unavailable,
        Code::ResourceExhausted => ErrorKind::ResourceExhausted,
        Code::FailedPrecondition | Code::Aborted => ErrorKind::Conflict,
        Code::DataLoss => ErrorKind::Corrupt,
        Code::DeadlineExceeded => ErrorKind::Timeout,
        Code::Unimplemented => ErrorKind::Unsupported,
        Code::Ok | Code::Internal => ErrorKind::Internal,
    }
}
