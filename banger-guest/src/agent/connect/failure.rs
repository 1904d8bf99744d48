//! Why a connection could not be made, and how the client is told.

use std::io;

use banger_proto::{CONNECT_FAILURE_METADATA, guest::v1::ConnectFailure};
use tonic::{Code, Status, metadata::MetadataMap};

/// A connection that was not made.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    /// The address does not answer.
    #[error("{address}: {source}")]
    Address {
        /// Where to.
        address: String,
        /// The cause.
        source: io::Error,
    },
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(&'static str),
}

impl ConnectError {
    fn failure(&self) -> ConnectFailure {
        use io::ErrorKind as Io;
        let Self::Address { source, .. } = self else {
            return ConnectFailure::InvalidRequest;
        };
        match source.kind() {
            Io::ConnectionRefused => ConnectFailure::Refused,
            Io::TimedOut => ConnectFailure::TimedOut,
            Io::OutOfMemory | Io::AddrInUse | Io::AddrNotAvailable => ConnectFailure::Resources,
            Io::InvalidInput => ConnectFailure::InvalidRequest,
            _ => ConnectFailure::Unreachable,
        }
    }
}

impl From<ConnectError> for Status {
    fn from(error: ConnectError) -> Self {
        let failure = error.failure();
        let code = match failure {
            ConnectFailure::InvalidRequest => Code::InvalidArgument,
            ConnectFailure::Resources => Code::ResourceExhausted,
            _ => Code::FailedPrecondition,
        };
        let mut metadata = MetadataMap::new();
        metadata.insert(CONNECT_FAILURE_METADATA, (failure as i32).into());
        Self::with_metadata(code, error.to_string(), metadata)
    }
}
