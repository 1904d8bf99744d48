//! Images in a registry (OCI distribution-spec).
//!
//! Invariants: documents are compared with their digests and bounded; layers
//! are streamed into the cache, never held; from resolving until the source is
//! dropped the image's layers are not pruned.

use async_trait::async_trait;
use futures_util::{FutureExt as _, TryStreamExt as _, stream};
use tokio::sync::Mutex;

use super::{
    ArrivingLayers, ImageSource, LayerBlob, LayerDescriptor, Platform, RegistryReference,
    ResolvedImage, SourceError, SourceOptions,
    cache::BlobCache,
    distribution::{Attempt, Endpoint, Session},
    document::Blob,
    lease::CacheLease,
    resolve::{Documents, resolve_image},
};
use crate::{
    directories::Directories, domain::Digest, progress::ProgressSink, trust::CosignSignature,
};

/// Layers fetched at once.
const PARALLEL_LAYERS: usize = 3;

/// An image in a registry.
pub(super) struct RegistrySource {
    pub(super) session: Session,
    pub(super) cache: BlobCache,
    directories: Directories,
    /// Keeps layers from being pruned while this source is in use.
    lease: Mutex<Option<CacheLease>>,
}

impl std::fmt::Debug for RegistrySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistrySource")
            .field("reference", &self.session.reference())
            .finish_non_exhaustive()
    }
}

impl RegistrySource {
    pub(super) fn new(
        image: &RegistryReference,
        options: &SourceOptions,
    ) -> Result<Self, SourceError> {
        Ok(Self {
            session: Session::new(image, options)?,
            cache: BlobCache::new(options.directories.clone()),
            directories: options.directories.clone(),
            lease: Mutex::new(None),
        })
    }

    /// The manifest or index of that digest, or else of the reference.
    pub(super) async fn manifest(
        &self,
        digest: Option<&Digest>,
    ) -> Result<(Digest, Vec<u8>), SourceError> {
        let name = digest.map_or_else(|| self.session.asked_name(), Digest::to_string);
        let wanted = digest.or(self.session.asked_digest());
        let attempt = |endpoint| {
            self.manifest_attempt(endpoint, name.clone(), wanted)
                .boxed()
        };
        self.session.call(attempt).await
    }

    async fn manifest_attempt(
        &self,
        endpoint: &Endpoint,
        name: String,
        wanted: Option<&Digest>,
    ) -> Result<(Digest, Vec<u8>), Attempt> {
        let bytes = endpoint.manifest(&name).await?;
        let actual = Digest::of(&bytes);
        match wanted {
            Some(wanted) if *wanted != actual => {
                let problem = format!("the registry sent {actual}");
                Err(Attempt::permanent(self.corrupt(wanted, problem)))
            }
            _ => Ok((actual, bytes)),
        }
    }

    /// One attempt at a small blob, whose claimed size has been checked.
    pub(super) async fn small_blob(
        &self,
        endpoint: &Endpoint,
        blob: Blob,
    ) -> Result<Vec<u8>, Attempt> {
        let bytes = endpoint.small_blob(&blob).await?;
        let is_right = |bytes: &Vec<u8>| {
            bytes.len() as u64 == blob.size.get() && Digest::of(bytes) == blob.digest
        };
        bytes.filter(is_right).ok_or_else(|| {
            let problem = format!("the registry sent other bytes than its {}", blob.size);
            Attempt::permanent(self.corrupt(&blob.digest, problem))
        })
    }

    pub(super) fn corrupt(&self, digest: &Digest, problem: String) -> SourceError {
        SourceError::Corrupt {
            reference: self.session.reference().to_owned(),
            digest: *digest,
            problem,
        }
    }
}

#[async_trait]
impl Documents for RegistrySource {
    async fn document(&self, blob: &Blob) -> Result<Vec<u8>, SourceError> {
        let (_, bytes) = self.manifest(Some(&blob.digest)).await?;
        Ok(bytes)
    }

    async fn config(&self, blob: &Blob) -> Result<Vec<u8>, SourceError> {
        let attempt = |endpoint| self.small_blob(endpoint, *blob).boxed();
        self.session.call(attempt).await
    }

    fn reference(&self) -> &str {
        self.session.reference()
    }
}

#[async_trait]
impl ImageSource for RegistrySource {
    async fn resolve(&self, platform: &Platform) -> Result<ResolvedImage, SourceError> {
        let root = self.manifest(None).await?;
        let image = resolve_image(self, root, platform).await?;
        let layers = image.layers.iter().map(|layer| layer.digest);
        let lease = CacheLease::take(&self.directories, layers).await;
        let lease = lease.map_err(|source| SourceError::Lock {
            reference: self.session.reference().to_owned(),
            source,
        })?;
        *self.lease.lock().await = Some(lease);
        Ok(image)
    }

    async fn signatures(&self, root: &Digest) -> Result<Vec<CosignSignature>, SourceError> {
        self.cosign_signatures(root).await
    }

    async fn fetch_layers(
        &self,
        layers: &[LayerDescriptor],
        progress: &dyn ProgressSink,
    ) -> Result<Vec<LayerBlob>, SourceError> {
        self.stream_layers(layers, progress).await?.all().await
    }

    async fn stream_layers<'a>(
        &'a self,
        layers: &'a [LayerDescriptor],
        progress: &'a dyn ProgressSink,
    ) -> Result<ArrivingLayers<'a>, SourceError> {
        let layers = layers.iter().map(|layer| self.layer(layer, progress));
        let (blobs, fetches): (_, Vec<_>) = layers.unzip();
        // the order in which they are read
        let fetches = fetches.into_iter().rev().flatten().map(Ok);
        Ok(ArrivingLayers {
            blobs,
            fetching: stream::iter(fetches)
                .try_buffer_unordered(PARALLEL_LAYERS)
                .try_collect()
                .boxed(),
        })
    }
}
