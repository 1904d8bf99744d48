//! Where OCI images come from: registries and layouts.
//!
//! Purpose: from an [`ImageReference`] to verified layer blobs on disk.
//! Invariants: a blob is handed out only after all its bytes matched its
//! digest and length; a cached blob is published by rename; every wait on a
//! peer has a deadline; credentials never reach a log or an error.
//! Entry points: [`ImageReference`], [`ImageSource`], [`open_source`].

mod error;
mod reference;

use async_trait::async_trait;
use camino::Utf8PathBuf;

use crate::{
    domain::{Bytes, Digest, RunConfig},
    progress::ProgressSink,
};

pub use error::SourceError;
pub use reference::{ImageReference, LayoutReference, ReferenceParseError, RegistryReference};

/// The platform whose manifest is wanted (OCI image-spec, `image-index.md`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// GOOS.
    pub os: String,
    /// GOARCH.
    pub architecture: String,
    /// CPU variant, as `v8`.
    pub variant: Option<String>,
}

/// An image whose manifest and configuration are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedImage {
    /// Digest of the platform's manifest.
    pub manifest: Digest,
    /// Its layers, lowest first.
    pub layers: Vec<LayerDescriptor>,
    /// What it runs.
    pub run_config: RunConfig,
    /// When it was made, in seconds since 1970-01-01 UTC, if it says so.
    pub created_unix: Option<i64>,
}

/// One layer of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerDescriptor {
    /// Digest of the blob as stored.
    pub digest: Digest,
    /// Length of the blob as stored.
    pub size: Bytes,
    /// How the blob is compressed.
    pub compression: Compression,
    /// Digest of the tar stream inside.
    pub diff_id: Digest,
}

/// How a layer blob is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compression {
    /// A plain tar stream.
    None,
    /// gzip, perhaps of several members (RFC 1952, 2.2).
    Gzip,
    /// zstd, perhaps of several frames (RFC 8878, 3.1).
    Zstd,
}

/// A layer whose blob is on disk and verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerBlob {
    /// The blob's file, which nobody changes.
    pub path: Utf8PathBuf,
    /// What it is.
    pub descriptor: LayerDescriptor,
}

/// One place an image can come from.
///
/// Both methods may be called concurrently and repeated. A cancelled call
/// leaves at most a partial download that a later call resumes or replaces.
#[async_trait]
pub trait ImageSource: Send + Sync + std::fmt::Debug {
    /// Reads manifest and configuration and chooses the platform.
    async fn resolve(&self, platform: &Platform) -> Result<ResolvedImage, SourceError>;

    /// Answers the blob of every layer, in the given order, each verified.
    async fn fetch_layers(
        &self,
        layers: &[LayerDescriptor],
        progress: &dyn ProgressSink,
    ) -> Result<Vec<LayerBlob>, SourceError>;
}
