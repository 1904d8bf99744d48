//! What can go wrong before a registry is spoken to.

use camino::Utf8PathBuf;

use crate::{error::ErrorKind, process::ChildError};

/// What the way to a registry needs is not in order.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// A file of credentials or certificates cannot be read.
    #[error("failed to read {path}")]
    ReadFile {
        /// The file.
        path: Utf8PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A file of credentials or certificates is not valid.
    #[error("file {path} cannot be used: {problem}")]
    InvalidFile {
        /// The file.
        path: Utf8PathBuf,
        /// What is wrong, without a word of the file.
        problem: String,
    },
    /// A credential helper is not installed.
    #[error("credential helper {program} was not found")]
    HelperMissing {
        /// The program's name.
        program: String,
    },
    /// A credential helper did not run to its end.
    #[error("failed to ask credential helper {program}")]
    RunHelper {
        /// The program's name.
        program: String,
        /// The cause.
        source: ChildError,
    },
    /// A credential helper failed, or answered nonsense.
    #[error("credential helper {program} failed: {problem}")]
    Helper {
        /// The program's name.
        program: String,
        /// What is wrong.
        problem: String,
    },
    /// A proxy is not given by a URL that can be used.
    #[error("proxy {proxy} is not valid: {problem}")]
    Proxy {
        /// The proxy, without user and password.
        proxy: String,
        /// What is wrong.
        problem: String,
    },
    /// The HTTP client cannot be made.
    #[error("failed to prepare TLS: {problem}")]
    Client {
        /// What is wrong.
        problem: String,
    },
}

impl AccessError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::ReadFile { source, .. } => ErrorKind::of_io(source),
            Self::InvalidFile { .. } | Self::Proxy { .. } => ErrorKind::InvalidInput,
            Self::HelperMissing { .. } => ErrorKind::Unsupported,
            Self::RunHelper { source, .. } => source.kind(),
            Self::Helper { .. } => ErrorKind::Unavailable,
            Self::Client { .. } => ErrorKind::Internal,
        }
    }
}
