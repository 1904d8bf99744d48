//! What a connection into a guest looks like from outside.

use tokio::sync::mpsc;

use super::{StreamPiece, VmQueryError};
use crate::{
    ErrorKind,
    domain::{VmName, VmState},
    remote::RemoteError,
};

/// Where in a guest to connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GuestAddress {
    /// An address as the guest sees it; none: its loopback addresses.
    pub host: Option<std::net::IpAddr>,
    /// The TCP port.
    pub port: std::num::NonZeroU16,
}

impl std::fmt::Display for GuestAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host {
            Some(host) => std::net::SocketAddr::new(host, self.port.get()).fmt(f),
            None => write!(f, "port {}", self.port),
        }
    }
}

/// An open connection into a guest. Dropping it closes it.
#[derive(Debug)]
pub struct GuestConnection {
    /// Bytes for the guest's server, then the end of this direction. Bounded:
    /// sending waits while the guest does not read. Giving it up without an end
    /// closes the connection.
    pub outgoing: mpsc::Sender<StreamPiece>,
    /// Bytes from the guest's server, then the end of this direction; as the
    /// last item, how the connection ended. Bounded: not reading holds the
    /// server up.
    pub incoming: mpsc::Receiver<Result<StreamPiece, ConnectError>>,
}

/// Why a connection could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectFailure {
    /// Nobody listens there.
    Refused,
    /// There is no way to the address.
    Unreachable,
    /// No answer came in time.
    TimedOut,
    /// The request is malformed.
    InvalidRequest,
    /// The guest lacks the means.
    Resources,
}

impl ConnectFailure {
    /// Every one.
    pub const ALL: [Self; 5] = [
        Self::Refused,
        Self::Unreachable,
        Self::TimedOut,
        Self::InvalidRequest,
        Self::Resources,
    ];

    /// Its name for programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
            Self::InvalidRequest => "invalid_request",
            Self::Resources => "resources",
        }
    }
}

/// A connection into a guest could not be made, or broke.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The VM could not be looked up.
    #[error(transparent)]
    Query(#[from] VmQueryError),
    /// The VM does not run.
    #[error("VM {name} is {}: connections go only to a running VM", state.as_str())]
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
    /// The guest does not connect.
    #[error("{address} of VM {name} cannot be connected to: {message}")]
    Refused {
        /// The VM.
        name: VmName,
        /// Where to.
        address: GuestAddress,
        /// Why.
        failure: ConnectFailure,
        /// The guest's words.
        message: String,
    },
    /// The connection broke inside the guest.
    #[error("a connection to {address} of VM {name} broke: {message}")]
    Broken {
        /// The VM.
        name: VmName,
        /// Where to.
        address: GuestAddress,
        /// The guest's words.
        message: String,
    },
    /// The VM runs with a guest program that cannot do this.
    #[error("VM {name} was started by an older banger, whose guest program cannot connect")]
    AgentTooOld {
        /// The VM.
        name: VmName,
    },
    /// The VM went away.
    #[error("VM {name} went away: {problem}")]
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

impl ConnectError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Remote(error) => error.kind(),
            Self::Query(error) => error.kind(),
            Self::NotRunning { .. } => ErrorKind::Conflict,
            Self::Refused { failure, .. } => match failure {
                ConnectFailure::Refused | ConnectFailure::Unreachable => ErrorKind::Unavailable,
                ConnectFailure::TimedOut => ErrorKind::Timeout,
                ConnectFailure::InvalidRequest => ErrorKind::InvalidInput,
                ConnectFailure::Resources => ErrorKind::ResourceExhausted,
            },
            Self::Broken { .. } | Self::VmLost { .. } => ErrorKind::Unavailable,
            Self::NoAgent { .. } | Self::AgentTooOld { .. } => ErrorKind::Unsupported,
            Self::Agent { .. } => ErrorKind::Internal,
        }
    }
}
