//! Where OCI images come from: registries, layouts and archives.
//!
//! Purpose: from an [`ImageReference`] to layer blobs on disk.
//! Invariants: a blob is handed out as verified only after all its bytes
//! matched its digest; a cached blob is published by rename; every wait on a
//! peer has a deadline; credentials never reach a log or an error.
//! Entry points: [`ImageReference`], [`ImageSources`], [`ImageSource`],
//! [`SourceOptions`].

mod archive_file;
mod archive_reference;
mod cache;
mod config;
mod docker_archive;
mod docker_manifest;
mod document;
mod download;
mod error;
mod layout;
mod layout_files;
mod members;
mod oci_archive;
mod partial;
mod platform;
mod problem;
mod reference;
mod registry;
mod registry_error;
mod resolve;
mod rootfs_tar;
mod session;
mod signatures;

use std::{fs::File, io, sync::Arc, time::Duration};

use async_trait::async_trait;
use camino::Utf8PathBuf;

use crate::{
    directories::Directories,
    domain::{Bytes, Digest, RunConfig},
    host_fs::FileRange,
    progress::{ProgressEvent, ProgressSink},
    trust::CosignSignature,
};

use docker_archive::DockerArchiveSource;
use layout::LayoutSource;
use oci_archive::OciArchiveSource;
use registry::RegistrySource;
use rootfs_tar::RootfsTarSource;

pub(crate) use cache::BlobCache;
pub(crate) use document::Blob;
pub(crate) use partial::{Partial, PartialError};
pub(crate) use session::install_tls_provider;

pub use archive_reference::{
    ArchivedImage, DockerArchiveReference, OciArchiveReference, RootfsTarReference,
};
pub use error::SourceError;
pub use platform::Platform;
pub use reference::{ImageReference, LayoutReference, ReferenceParseError, RegistryReference};

/// An image whose manifest and configuration are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedImage {
    /// Digest of the manifest or index that the reference names, which is what
    /// is signed; of what has no index, the same as `manifest`.
    pub root: Digest,
    /// Digest of the platform's manifest. In a docker archive, which has none,
    /// that of the configuration, docker's image id; of a tree in a tar file,
    /// that of the file.
    pub manifest: Digest,
    /// Its layers, lowest first.
    pub layers: Vec<LayerDescriptor>,
    /// What it runs.
    pub run_config: RunConfig,
    /// When it was made, in seconds since 1970-01-01 UTC, if it says so.
    pub created_unix: Option<i64>,
}

impl ResolvedImage {
    /// What a progress display is told of it.
    pub(crate) fn resolved_event(&self) -> ProgressEvent {
        let sizes = self.layers.iter().map(|layer| layer.size.get());
        ProgressEvent::Resolved {
            manifest: self.manifest,
            layers: self.layers.len(),
            bytes: Bytes::new(sizes.fold(0, u64::saturating_add)),
        }
    }
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

/// A layer whose blob is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerBlob {
    /// The blob's file, as long as the descriptor says; with `range`, how the
    /// open file is called in messages.
    pub path: Utf8PathBuf,
    /// Where the bytes are in a file that is open already.
    pub range: Option<FileRange>,
    /// What it is.
    pub descriptor: LayerDescriptor,
    /// Whether its bytes were compared with its digest, and nobody changes
    /// them. If not, whoever reads them does that on the way.
    pub verified: bool,
}

impl LayerBlob {
    /// The bytes as stored.
    pub(crate) fn bytes(&self) -> io::Result<FileRange> {
        match &self.range {
            Some(range) => Ok(range.clone()),
            None => FileRange::whole(File::open(&self.path)?),
        }
    }
}

/// How sources are read.
#[derive(Clone, Debug)]
pub struct SourceOptions {
    /// Where the cache of blobs lies.
    pub directories: Directories,
    /// Credentials by registry; registries not named are read anonymously.
    pub credentials: Vec<RegistryCredentials>,
    /// Registries (`host[:port]`) that are spoken to without TLS. Those on the
    /// loopback interface always are.
    pub plain_http: Vec<String>,
    /// Pause before the second attempt; later ones grow from it.
    pub retry_pause: Duration,
    /// What `rootfs-tar:-` means, if it may be used: a pipe, which is read to
    /// its end, or a file.
    pub standard_input: Option<Arc<File>>,
}

impl SourceOptions {
    /// Anonymous access to registries with TLS.
    #[must_use]
    pub const fn new(directories: Directories) -> Self {
        Self {
            directories,
            credentials: Vec::new(),
            plain_http: Vec::new(),
            retry_pause: Duration::from_millis(500),
            standard_input: None,
        }
    }
}

/// Credentials for one registry. Its `Debug` form leaves the secret out.
#[derive(Clone)]
pub struct RegistryCredentials {
    /// `host[:port]`, as in references.
    pub registry: String,
    /// The user's name.
    pub user: String,
    /// Password or token.
    pub secret: String,
}

impl std::fmt::Debug for RegistryCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistryCredentials")
            .field("registry", &self.registry)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl ImageSources for SourceOptions {
    fn open(&self, reference: &ImageReference) -> Result<Box<dyn ImageSource>, SourceError> {
        Ok(match reference {
            ImageReference::Registry(image) => Box::new(RegistrySource::new(image, self)?),
            ImageReference::Layout(layout) => Box::new(LayoutSource::new(layout)),
            ImageReference::OciArchive(archive) => Box::new(OciArchiveSource::new(archive, self)),
            ImageReference::DockerArchive(archive) => {
                Box::new(DockerArchiveSource::new(archive, self))
            }
            ImageReference::RootfsTar(tar) => Box::new(RootfsTarSource::new(tar, self)),
        })
    }
}

/// Opens the source of a reference.
pub trait ImageSources: Send + Sync + std::fmt::Debug {
    /// The source of `reference`; reads nothing yet.
    fn open(&self, reference: &ImageReference) -> Result<Box<dyn ImageSource>, SourceError>;
}

/// One place an image can come from.
///
/// Both methods may be called concurrently and repeated. A cancelled call
/// leaves at most a partial download that a later call resumes or replaces.
#[async_trait]
pub trait ImageSource: Send + Sync + std::fmt::Debug {
    /// Reads manifest and configuration and chooses the platform.
    async fn resolve(&self, platform: &Platform) -> Result<ResolvedImage, SourceError>;

    /// Every cosign signature that lies beside the manifest or index `root`.
    /// None of them was checked. Sources that cannot hold any answer none.
    async fn signatures(&self, _root: &Digest) -> Result<Vec<CosignSignature>, SourceError> {
        Ok(Vec::new())
    }

    /// Answers the blob of every layer, in the given order.
    async fn fetch_layers(
        &self,
        layers: &[LayerDescriptor],
        progress: &dyn ProgressSink,
    ) -> Result<Vec<LayerBlob>, SourceError>;
}
