//! Images in a registry (OCI distribution-spec), through `oci-client`.
//!
//! Invariants: documents are compared with their digests and bounded; layers
//! are streamed into the cache, never held.

use std::pin::pin;

use async_trait::async_trait;
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use oci_client::Reference;

use super::{
    ImageSource, LayerBlob, LayerDescriptor, Platform, RegistryReference, ResolvedImage,
    SourceError, SourceOptions,
    cache::BlobCache,
    document::{ACCEPTED_MEDIA_TYPES, Blob, MAX_MANIFEST},
    problem::Problem,
    registry_error::{Attempt, is_digest_mismatch},
    resolve::{Documents, resolve_image},
    session::Session,
};
use crate::{domain::Digest, progress::ProgressSink, trust::CosignSignature};

/// Layers fetched at once.
const PARALLEL_LAYERS: usize = 3;

/// An image in a registry.
pub(super) struct RegistrySource {
    pub(super) session: Session,
    pub(super) cache: BlobCache,
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
        })
    }

    /// The manifest or index of that digest, or else of the reference.
    async fn manifest(&self, digest: Option<&Digest>) -> Result<(Digest, Vec<u8>), SourceError> {
        let image = self.session.client_reference(digest);
        let session = &self.session;
        let pulled = session.call(|| {
            let answer =
                session
                    .client
                    .pull_manifest_raw(&image, session.auth(), &ACCEPTED_MEDIA_TYPES);
            session.within_deadline(answer).boxed()
        });
        let (bytes, _) = pulled.await?;
        if MAX_MANIFEST < bytes.len() as u64 {
            let problem = format!("its manifest has more than {MAX_MANIFEST} bytes");
            return Err(Problem::Limit(problem).of(self.session.reference()));
        }
        let actual = Digest::of(&bytes);
        match digest.or(self.session.asked_digest()) {
            Some(wanted) if *wanted != actual => {
                Err(self.corrupt(wanted, format!("the registry sent {actual}")))
            }
            _ => Ok((actual, bytes.to_vec())),
        }
    }

    /// One attempt at a small blob, whose claimed size has been checked.
    pub(super) async fn small_blob(
        &self,
        image: &Reference,
        blob: &Blob,
    ) -> Result<Vec<u8>, Attempt> {
        let name = blob.digest.to_string();
        let limit = blob.size.get();
        let answer = async {
            let pulled = self.session.client.pull_blob_stream(image, name.as_str());
            let mut stream = pin!(pulled.await?.stream);
            let mut bytes = Vec::new();
            while let Some(chunk) = stream.next().await {
                match chunk {
                    Ok(chunk) => bytes.extend_from_slice(&chunk),
                    Err(error) if is_digest_mismatch(&error) => break,
                    Err(error) => return Err(error.into()),
                }
                if limit < bytes.len() as u64 {
                    break;
                }
            }
            Ok(bytes)
        };
        let bytes = self.session.within_deadline(answer).await?;
        if bytes.len() as u64 == limit && Digest::of(&bytes) == blob.digest {
            return Ok(bytes);
        }
        let problem = format!("the registry sent other bytes than its {}", blob.size);
        Err(Attempt::permanent(self.corrupt(&blob.digest, problem)))
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
        let image = self.session.client_reference(None);
        let attempt = || self.small_blob(&image, blob).boxed();
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
        resolve_image(self, root, platform).await
    }

    async fn signatures(&self, root: &Digest) -> Result<Vec<CosignSignature>, SourceError> {
        self.cosign_signatures(root).await
    }

    async fn fetch_layers(
        &self,
        layers: &[LayerDescriptor],
        progress: &dyn ProgressSink,
    ) -> Result<Vec<LayerBlob>, SourceError> {
        let fetches: Vec<_> = layers
            .iter()
            .map(|descriptor| self.layer(descriptor.clone(), progress))
            .collect();
        futures_util::stream::iter(fetches)
            .buffered(PARALLEL_LAYERS)
            .try_collect()
            .await
    }
}
