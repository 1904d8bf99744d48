//! What can go wrong with a machine's network.

use std::io;

use crate::{domain::PublishedPort, error::ErrorKind};

/// A machine cannot have its network.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// The host lets its users make no namespaces.
    #[error("user and network namespaces cannot be made on this host")]
    Namespaces {
        /// The cause.
        source: io::Error,
    },
    /// The host lets its users make no tap interfaces.
    #[error("/dev/net/tun cannot be used")]
    Tap {
        /// The cause.
        source: io::Error,
    },
    /// The kernel cannot join the interfaces.
    #[error("the machine's interfaces cannot be joined by a bridge")]
    Interfaces {
        /// The cause.
        source: io::Error,
    },
    /// The helper's program is not there.
    #[error("slirp4netns was not found (Debian package slirp4netns)")]
    NoHelper,
    /// The helper does not work.
    #[error("the network's helper failed: {problem}")]
    Helper {
        /// What happened.
        problem: String,
    },
    /// The helper cannot bind a port of the host.
    #[error("port {} of this host cannot be bound: {problem}", port.host_side())]
    Port {
        /// The port.
        port: PublishedPort,
        /// The helper's words.
        problem: String,
    },
}

impl NetworkError {
    /// The classification of the failure.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Namespaces { .. }
            | Self::Tap { .. }
            | Self::Interfaces { .. }
            | Self::NoHelper => ErrorKind::Unsupported,
            Self::Helper { .. } => ErrorKind::Internal,
            Self::Port { .. } => ErrorKind::Conflict,
        }
    }
}
