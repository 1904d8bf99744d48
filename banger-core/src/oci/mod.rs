//! Where OCI images come from: registries, layouts and archives.
//!
//! Purpose: from an [`ImageReference`] to layer blobs on disk.
//! Invariants: a blob is handed out as verified only after all its bytes
//! matched its digest; a cached blob is published by rename; every wait on a
//! peer has a deadline; credentials never reach a log or an error.
//! Entry points: [`ImageReference`], [`ImageSources`], [`ImageSource`],
//! [`SourceOptions`], [`RegistryOptions`].

mod access_error;
mod archive_file;
mod archive_reference;
mod arrival;
mod artifact;
mod blob_fetch;
mod cache;
mod config;
mod credentials;
mod delivery;
mod distribution;
mod docker_archive;
mod docker_manifest;
mod document;
mod download;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod layout;
mod layout_files;
mod lease;
mod members;
mod oci_archive;
mod partial;
mod platform;
mod problem;
mod reference;
mod registry;
mod registry_options;
mod remote;
mod resolve;
mod rootfs_tar;
mod signatures;
mod small_file;

use std::{fs::File, io, sync::Arc};

use async_trait::async_trait;
use camino::Utf8PathBuf;
use futures_util::{
    FutureExt as _,
    future::{self, BoxFuture},
};

use crate::{
    directories::Directories,
    domain::{Bytes, Digest, RunConfig},
    host_fs::FileRange,
    progress::{ProgressEvent, ProgressSink},
    trust::CosignSignature,
};

pub(crate) use arrival::ArrivalReader;
use docker_archive::DockerArchiveSource;
use layout::LayoutSource;
use oci_archive::OciArchiveSource;
use registry::RegistrySource;
use rootfs_tar::RootfsTarSource;

pub(crate) use artifact::Artifact;
pub(crate) use document::Blob;
pub(crate) use remote::{FetchedBlob, Remote, RemoteFile};

pub use access_error::AccessError;
pub use archive_reference::{
    ArchivedImage, DockerArchiveReference, OciArchiveReference, RootfsTarReference,
};
pub use arrival::Arrival;
pub use credentials::{AuthFile, CredentialSource, RegistryCredentials};
pub use delivery::{Delivery, Undelivered};
pub use error::SourceError;
pub(crate) use lease::{lease_gate, leased_blobs, sweep_leases};
pub use platform::Platform;
pub(crate) use reference::BROUGHT;
pub use reference::{ImageReference, LayoutReference, ReferenceParseError, RegistryReference};
pub use registry_options::{HostOptions, Mirror, MirrorParseError, ProxyOptions, RegistryOptions};

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

/// A layer whose blob is on disk, or on its way there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerBlob {
    /// The blob's file, as long as the descriptor says; with other `bytes`, how
    /// those are called in messages.
    pub path: Utf8PathBuf,
    /// Where the bytes are.
    pub bytes: LayerBytes,
    /// What it is.
    pub descriptor: LayerDescriptor,
    /// Whether its bytes were compared with its digest, and nobody changes
    /// them, or whoever fetches them does that. If not, whoever reads them
    /// does it on the way.
    pub verified: bool,
}

/// Where a layer's bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayerBytes {
    /// In the file of the blob's path.
    File,
    /// In a file that is open already.
    Range(FileRange),
    /// On their way.
    Arriving(Arrival),
}

impl LayerBlob {
    /// The bytes as stored. Holds up its thread until all are there.
    pub(crate) fn range(&self) -> io::Result<FileRange> {
        match &self.bytes {
            LayerBytes::File => FileRange::whole(File::open(&self.path)?),
            LayerBytes::Range(range) => Ok(range.clone()),
            LayerBytes::Arriving(arrival) => arrival.whole(),
        }
    }

    /// Whether all bytes are there.
    pub(crate) fn is_there(&self) -> bool {
        match &self.bytes {
            LayerBytes::Arriving(arrival) => arrival.is_whole(),
            LayerBytes::File | LayerBytes::Range(_) => true,
        }
    }

    /// Whether bytes that could be read were wrong, and others came instead.
    pub(crate) fn was_taken_back(&self) -> bool {
        match &self.bytes {
            LayerBytes::Arriving(arrival) => arrival.was_taken_back(),
            LayerBytes::File | LayerBytes::Range(_) => false,
        }
    }
}

/// Layers that can be read while their fetching goes on.
pub struct ArrivingLayers<'a> {
    /// The blob of every layer, in the order that was asked for.
    pub blobs: Vec<LayerBlob>,
    /// Ends when every blob is whole and verified. What was made of the blobs
    /// counts only then; dropping it gives the fetching up, and lets readers
    /// of what did not arrive fail.
    pub fetching: BoxFuture<'a, Result<(), SourceError>>,
}

impl ArrivingLayers<'_> {
    /// Layers that are there.
    #[must_use]
    pub fn arrived(blobs: Vec<LayerBlob>) -> Self {
        Self {
            blobs,
            fetching: future::ready(Ok(())).boxed(),
        }
    }

    /// Waits for all of them.
    pub async fn all(mut self) -> Result<Vec<LayerBlob>, SourceError> {
        self.fetching.await?;
        for blob in &mut self.blobs {
            if let LayerBytes::Arriving(_) = blob.bytes {
                blob.bytes = LayerBytes::File;
            }
        }
        Ok(self.blobs)
    }
}

impl std::fmt::Debug for ArrivingLayers<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ArrivingLayers")
            .field("blobs", &self.blobs)
            .finish_non_exhaustive()
    }
}

/// How sources are read.
#[derive(Clone, Debug)]
pub struct SourceOptions {
    /// Where the cache of blobs lies.
    pub directories: Directories,
    /// How registries are reached.
    pub registries: RegistryOptions,
    /// What `rootfs-tar:-` means, if it may be used: a pipe, which is read to
    /// its end, or a file.
    pub standard_input: Option<Arc<File>>,
}

impl SourceOptions {
    /// Anonymous access to registries with TLS.
    #[must_use]
    pub fn new(directories: Directories) -> Self {
        Self {
            directories,
            registries: RegistryOptions::default(),
            standard_input: None,
        }
    }
}

impl ImageSources for SourceOptions {
    fn open(&self, reference: &ImageReference) -> Result<Box<dyn ImageSource>, SourceError> {
        Ok(match reference {
            ImageReference::Registry(image) => Box::new(RegistrySource::new(image, self)?),
            ImageReference::Layout(layout) => match &layout.brought {
                Some(brought) => Box::new(OciArchiveSource::of_layout(layout, brought, self)),
                None => Box::new(LayoutSource::new(layout)),
            },
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
/// All methods may be called concurrently and repeated. A cancelled call
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

    /// Answers the blob of every layer, in the given order, perhaps before it
    /// is there: the last layers, which are the first to be read, come first.
    async fn stream_layers<'a>(
        &'a self,
        layers: &'a [LayerDescriptor],
        progress: &'a dyn ProgressSink,
    ) -> Result<ArrivingLayers<'a>, SourceError> {
        let layers = self.fetch_layers(layers, progress).await?;
        Ok(ArrivingLayers::arrived(layers))
    }
}
