//! Images in a registry (OCI distribution-spec), through `oci-client`.
//!
//! Invariants: blobs are streamed into the cache, never held; every wait has a
//! deadline; what may pass is tried again, with growing pauses; errors carry
//! no credentials.

use std::{pin::pin, time::Duration};

use async_trait::async_trait;
use backon::{ExponentialBuilder, Retryable as _};
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _, future::BoxFuture};
use oci_client::{
    Client, Reference, RegistryOperation,
    client::{BlobResponse, ClientConfig, ClientProtocol},
    secrets::RegistryAuth,
};

use super::{
    ImageSource, LayerBlob, LayerDescriptor, Platform, RegistryReference, ResolvedImage,
    SourceError, SourceOptions,
    cache::{BlobCache, Partial, PartialError},
    document::{ACCEPTED_MEDIA_TYPES, Blob, MAX_CONFIG, MAX_MANIFEST},
    registry_error::{Attempt, classify, classify_io},
    resolve::{Documents, resolve_image},
};
use crate::{
    domain::{Bytes, Digest},
    progress::{ProgressEvent, ProgressSink},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest silence of a registry.
const READ_TIMEOUT: Duration = Duration::from_mins(1);
/// Layers fetched at once.
const PARALLEL_LAYERS: usize = 3;
/// Bytes of a layer between two progress events.
const PROGRESS_STEP: u64 = 4 * Bytes::MIB;

/// An image in a registry.
#[derive(Clone)]
pub(super) struct RegistrySource {
    client: Client,
    auth: RegistryAuth,
    image: RegistryReference,
    cache: BlobCache,
    reference: String,
    retry: ExponentialBuilder,
}

impl std::fmt::Debug for RegistrySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistrySource")
            .field("reference", &self.reference)
            .finish_non_exhaustive()
    }
}

impl RegistrySource {
    pub(super) fn new(image: &RegistryReference, options: &SourceOptions) -> Self {
        install_tls_provider();
        let credentials = options
            .credentials
            .iter()
            .find(|entry| entry.registry == image.registry());
        let auth = credentials.map_or(RegistryAuth::Anonymous, |entry| {
            RegistryAuth::Basic(entry.user.clone(), entry.secret.clone())
        });
        Self {
            client: Client::new(client_config(image.registry(), options)),
            auth,
            image: image.clone(),
            cache: BlobCache::new(options.directories.clone()),
            reference: image.to_string(),
            retry: ExponentialBuilder::default()
                .with_min_delay(options.retry_pause)
                .with_max_times(4)
                .with_jitter(),
        }
    }

    /// The client's form of the reference; by digest where one is known.
    fn by_digest(&self, digest: Option<&Digest>) -> Reference {
        let (registry, repository) = (
            self.image.registry().to_owned(),
            self.image.repository().to_owned(),
        );
        match (digest.or(self.image.digest()), self.image.tag()) {
            (Some(digest), _) => Reference::with_digest(registry, repository, digest.to_string()),
            (None, tag) => {
                Reference::with_tag(registry, repository, tag.unwrap_or("latest").to_owned())
            }
        }
    }

    /// Tries until it works, cannot work, or was tried often enough.
    async fn retrying<'a, T>(
        &self,
        attempt: impl Fn() -> BoxFuture<'a, Result<T, Attempt>> + Send,
    ) -> Result<T, SourceError> {
        let retried = attempt.retry(self.retry).when(Attempt::is_transient).await;
        retried.map_err(|attempt| attempt.error)
    }

    /// Authenticates first, so that the registry's own reason for a refusal
    /// is what the user reads.
    async fn authenticate(&self) -> Result<(), SourceError> {
        let image = self.by_digest(None);
        let authenticated = self
            .retrying(|| {
                async {
                    let done = self
                        .client
                        .auth(&image, &self.auth, RegistryOperation::Pull)
                        .await;
                    done.map_err(|error| classify(&self.reference, error))
                }
                .boxed()
            })
            .await;
        authenticated.map(drop)
    }

    async fn manifest(&self, digest: Option<&Digest>) -> Result<(Digest, Vec<u8>), SourceError> {
        let image = self.by_digest(digest);
        let answer = self
            .retrying(|| {
                async {
                    let pulled = self
                        .client
                        .pull_manifest_raw(&image, &self.auth, &ACCEPTED_MEDIA_TYPES)
                        .await;
                    pulled.map_err(|error| classify(&self.reference, error))
                }
                .boxed()
            })
            .await;
        let (bytes, _) = answer?;
        if MAX_MANIFEST < bytes.len() as u64 {
            let problem = format!("its manifest has more than {MAX_MANIFEST} bytes");
            return Err(SourceError::Limit {
                reference: self.reference.clone(),
                problem,
            });
        }
        self.named_by(digest.or(self.image.digest()), bytes.to_vec())
    }

    /// Compares a document with the digest it was asked for by, if any.
    fn named_by(
        &self,
        wanted: Option<&Digest>,
        bytes: Vec<u8>,
    ) -> Result<(Digest, Vec<u8>), SourceError> {
        let actual = Digest::of(&bytes);
        match wanted {
            Some(wanted) if *wanted != actual => Err(SourceError::Corrupt {
                reference: self.reference.clone(),
                digest: *wanted,
                problem: format!("the registry sent {actual}"),
            }),
            _ => Ok((actual, bytes)),
        }
    }

    /// Reads a small blob whole.
    async fn read_blob(&self, blob: &Blob, limit: u64) -> Result<Vec<u8>, SourceError> {
        let image = self.by_digest(None);
        let name = blob.digest.to_string();
        let bytes = self
            .retrying(|| {
                async {
                    let pulled = self.client.pull_blob_stream(&image, name.as_str()).await;
                    let stream = pulled
                        .map_err(|error| classify(&self.reference, error))?
                        .stream;
                    collect(stream, limit)
                        .await
                        .map_err(|error| classify_io(&self.reference, &error))
                }
                .boxed()
            })
            .await?;
        self.named_by(Some(&blob.digest), bytes)
            .map(|(_, bytes)| bytes)
    }

    async fn layer(
        &self,
        descriptor: LayerDescriptor,
        progress: &dyn ProgressSink,
    ) -> Result<LayerBlob, SourceError> {
        let blob = Blob {
            digest: descriptor.digest,
            size: descriptor.size,
        };
        if let Some(path) = self.cache.find(&blob) {
            progress.emit(ProgressEvent::LayerCached { layer: blob.digest });
            return Ok(LayerBlob { path, descriptor });
        }
        let lock = self.cache.lock(&blob.digest).await;
        let _lock = lock.map_err(|source| SourceError::Lock {
            reference: self.reference.clone(),
            source,
        })?;
        // whoever held the lock may have fetched it
        let path = match self.cache.find(&blob) {
            Some(path) => path,
            None => {
                self.retrying(|| self.download(blob, progress).boxed())
                    .await?
            }
        };
        Ok(LayerBlob { path, descriptor })
    }

    /// One attempt at a blob, going on where the last one ended.
    async fn download(
        &self,
        blob: Blob,
        progress: &dyn ProgressSink,
    ) -> Result<camino::Utf8PathBuf, Attempt> {
        let mut partial = self
            .cache
            .partial(blob)
            .await
            .map_err(|error| self.failed(&blob, PartialError::Io(error)))?;
        if !partial.is_complete() {
            let received = self.receive(&blob, &mut partial, progress).await;
            partial
                .flush()
                .await
                .map_err(|error| self.failed(&blob, PartialError::Io(error)))?;
            received?;
        }
        partial
            .publish()
            .await
            .map_err(|error| self.failed(&blob, error))
    }

    async fn receive(
        &self,
        blob: &Blob,
        partial: &mut Partial,
        progress: &dyn ProgressSink,
    ) -> Result<(), Attempt> {
        let image = self.by_digest(None);
        let name = blob.digest.to_string();
        let asked = match partial.length() {
            0 => self
                .client
                .pull_blob_stream(&image, name.as_str())
                .await
                .map(BlobResponse::Full),
            offset => {
                self.client
                    .pull_blob_stream_partial(&image, name.as_str(), offset, None)
                    .await
            }
        };
        let stream = match asked.map_err(|error| classify(&self.reference, error))? {
            BlobResponse::Partial(stream) => stream,
            BlobResponse::Full(stream) => {
                // the registry does not resume: what is there is sent again
                partial
                    .restart()
                    .await
                    .map_err(|error| self.failed(blob, PartialError::Io(error)))?;
                stream
            }
        };
        let mut stream = pin!(stream.stream);
        let mut reported = partial.length();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| classify_io(&self.reference, &error))?;
            partial
                .append(&chunk)
                .await
                .map_err(|error| self.failed(blob, error))?;
            if reported + PROGRESS_STEP <= partial.length() || partial.is_complete() {
                reported = partial.length();
                let (done, total) = (Bytes::new(reported), blob.size);
                progress.emit(ProgressEvent::LayerProgress {
                    layer: blob.digest,
                    done,
                    total,
                });
            }
        }
        Ok(())
    }

    /// Damaged bytes may come whole the next time; a failing host file will not.
    fn failed(&self, blob: &Blob, error: PartialError) -> Attempt {
        let reference = self.reference.clone();
        match error {
            PartialError::Corrupt(problem) => Attempt::transient(SourceError::Corrupt {
                reference,
                digest: blob.digest,
                problem,
            }),
            PartialError::Io(source) => Attempt::permanent(SourceError::Io { reference, source }),
        }
    }
}

async fn collect(
    stream: impl futures_util::Stream<Item = std::io::Result<bytes::Bytes>>,
    limit: u64,
) -> std::io::Result<Vec<u8>> {
    let mut stream = pin!(stream);
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        bytes.extend_from_slice(&chunk?);
        if limit < bytes.len() as u64 {
            return Err(std::io::Error::other(format!(
                "the answer has more than {limit} bytes"
            )));
        }
    }
    Ok(bytes)
}

fn client_config(registry: &str, options: &SourceOptions) -> ClientConfig {
    let plain = is_loopback(registry) || options.plain_http.iter().any(|host| host == registry);
    ClientConfig {
        protocol: if plain {
            ClientProtocol::Http
        } else {
            ClientProtocol::Https
        },
        connect_timeout: Some(CONNECT_TIMEOUT),
        read_timeout: Some(READ_TIMEOUT),
        user_agent: concat!("banger/", env!("CARGO_PKG_VERSION")),
        ..ClientConfig::default()
    }
}

/// Whether the host part of `host[:port]` is this machine itself.
fn is_loopback(registry: &str) -> bool {
    if let Ok(address) = registry.parse::<std::net::SocketAddr>() {
        return address.ip().is_loopback();
    }
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    let address = registry
        .parse::<std::net::IpAddr>()
        .or_else(|_| host.parse());
    host == "localhost" || registry == "[::1]" || address.is_ok_and(|address| address.is_loopback())
}

/// The HTTP client panics without a TLS provider, even for plain HTTP.
fn install_tls_provider() {
    #[cfg(feature = "tls-ring")]
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // another thread may have been faster, which is as good
        drop(rustls::crypto::ring::default_provider().install_default());
    }
}

#[async_trait]
impl Documents for RegistrySource {
    async fn document(&self, blob: &Blob) -> Result<Vec<u8>, SourceError> {
        self.manifest(Some(&blob.digest))
            .await
            .map(|(_, bytes)| bytes)
    }

    async fn config(&self, blob: &Blob) -> Result<Vec<u8>, SourceError> {
        self.read_blob(blob, MAX_CONFIG).await
    }

    fn reference(&self) -> &str {
        &self.reference
    }
}

#[async_trait]
impl ImageSource for RegistrySource {
    async fn resolve(&self, platform: &Platform) -> Result<ResolvedImage, SourceError> {
        self.authenticate().await?;
        let root = self.manifest(None).await?;
        resolve_image(self, root, platform).await
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

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn only_this_machine_is_loopback() {
        for registry in [
            "localhost",
            "localhost:5000",
            "127.0.0.1",
            "127.1.2.3:80",
            "[::1]:5000",
            "[::1]",
        ] {
            assert!(is_loopback(registry), "{registry}");
        }
        for registry in [
            "docker.io",
            "10.0.0.1:5000",
            "localhost.example",
            "[fe80::1]:5000",
        ] {
            assert!(!is_loopback(registry), "{registry}");
        }
    }
}
