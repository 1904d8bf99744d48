//! What can go wrong with a catalog.

use crate::{
    bundle::BundleError, domain::Digest, error::ErrorKind, remote::RemoteError, trust::TrustError,
};

/// A catalog cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// The catalog or its signature cannot be read.
    #[error("failed to read catalog {catalog}")]
    Fetch {
        /// The catalog.
        catalog: String,
        /// The cause.
        source: BundleError,
    },
    /// It has another digest than it is pinned to.
    #[error(
        "catalog {catalog} is not the one it is pinned to: it should have {expected} and has {actual}"
    )]
    Digest {
        /// The catalog.
        catalog: String,
        /// The digest it is pinned to.
        expected: Digest,
        /// The digest of what is there.
        actual: Digest,
    },
    /// Its key did not sign it.
    #[error("catalog {catalog} is not believed: {problem}")]
    Unsigned {
        /// The catalog.
        catalog: String,
        /// What is wrong with its signature.
        problem: String,
    },
    /// It is no catalog.
    #[error("catalog {catalog} is malformed: {problem}")]
    Malformed {
        /// The catalog.
        catalog: String,
        /// What is wrong.
        problem: String,
    },
    /// What a server said.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl CatalogError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Remote(error) => error.kind(),
            Self::Fetch { source, .. } => source.kind(),
            Self::Digest { .. } | Self::Malformed { .. } => ErrorKind::Corrupt,
            Self::Unsigned { .. } => ErrorKind::PermissionDenied,
        }
    }
}

/// A bundle could not be had, or is not let in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SupplyError {
    /// It cannot be read.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// A catalog cannot be used.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// It is not let in.
    #[error(transparent)]
    Trust(#[from] TrustError),
}

impl SupplyError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Bundle(error) => error.kind(),
            Self::Catalog(error) => error.kind(),
            Self::Trust(error) => error.kind(),
        }
    }
}
