//! Files that others keep: at URLs, and as blobs in repositories.
//!
//! Purpose: what bundles and catalogs are read through, by the ways that lead
//! to registries: certificate authorities, proxies, mirrors, credentials,
//! retries. Invariants: a file that is handed out lies in the cache of blobs,
//! matched its digest when it was put there, and stays until its
//! [`FetchedBlob`] is dropped; fetching by several tasks and processes is one
//! download, by the blob's lock. A crash leaves a partial download, with which
//! the next one goes on.
//! Entry points: [`Remote`], [`Artifact`].

use std::sync::Arc;

use camino::Utf8PathBuf;
use futures_util::FutureExt as _;

use super::{
    Artifact, RegistryReference, SourceError, SourceOptions, arrival::arrival,
    blob_fetch::BlobFetch, cache::BlobCache, distribution::Link, document::Blob, lease::CacheLease,
    registry::RegistrySource,
};
use crate::{
    domain::{Bytes, Digest},
    host_fs::LockError,
};

/// The way to what is elsewhere.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    options: Arc<SourceOptions>,
    cache: BlobCache,
}

/// A file elsewhere.
pub(crate) struct RemoteFile(Place);

enum Place {
    Link(Box<Link>),
    Repository(Box<RegistrySource>),
}

/// A blob that is in the cache and stays there until this is dropped.
#[derive(Debug)]
pub(crate) struct FetchedBlob {
    pub(crate) path: Utf8PathBuf,
    _lease: CacheLease,
}

impl Remote {
    pub(crate) fn new(options: SourceOptions) -> Self {
        Self {
            cache: BlobCache::new(options.directories.clone()),
            options: Arc::new(options),
        }
    }

    /// What a URL names.
    pub(crate) fn at(&self, url: &str) -> Result<RemoteFile, SourceError> {
        let link = Link::new(url, &self.options.registries)?;
        Ok(RemoteFile(Place::Link(Box::new(link))))
    }

    /// The whole of what a URL names; none when it is longer than `limit`.
    pub(crate) async fn document(
        &self,
        url: &str,
        limit: Bytes,
    ) -> Result<Option<Vec<u8>>, SourceError> {
        let link = Link::new(url, &self.options.registries)?;
        link.document(limit.get()).await
    }

    /// Blobs of a repository.
    pub(crate) fn within(&self, image: &RegistryReference) -> Result<RemoteFile, SourceError> {
        let source = RegistrySource::new(image, &self.options)?;
        Ok(RemoteFile(Place::Repository(Box::new(source))))
    }

    /// The artifact that a reference names.
    pub(crate) async fn artifact(
        &self,
        image: &RegistryReference,
    ) -> Result<Artifact, SourceError> {
        Artifact::read(RegistrySource::new(image, &self.options)?).await
    }

    /// The length of a blob in the cache.
    pub(crate) fn cached_length(&self, digest: &Digest) -> Option<Bytes> {
        let metadata = std::fs::metadata(self.options.directories.blob(digest));
        metadata.ok().map(|metadata| Bytes::new(metadata.len()))
    }

    /// The blob of a file, from the cache or from where it is. Cancelling
    /// leaves at most a partial download.
    pub(crate) async fn fetch(
        &self,
        file: &RemoteFile,
        blob: Blob,
        told: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<FetchedBlob, SourceError> {
        let failed = |source: LockError| SourceError::Lock {
            reference: file.reference().to_owned(),
            source,
        };
        let lease = CacheLease::take(&self.options.directories, [blob.digest]).await;
        let lease = lease.map_err(failed)?;
        if self.cache.find(&blob).is_none() {
            let lock = self.cache.lock(&blob.digest).await.map_err(failed)?;
            let (_, feed) = arrival(self.cache.path(&blob), blob.size);
            let fetch = BlobFetch {
                cache: &self.cache,
                reference: file.reference(),
                blob,
                lock,
                feed: Arc::new(feed),
                told,
            };
            // whoever held the lock may have fetched it
            if self.cache.find(&blob).is_none() {
                file.rounds(&fetch).await?;
            }
        }
        let path = self.cache.path(&blob);
        Ok(FetchedBlob {
            path,
            _lease: lease,
        })
    }
}

impl RemoteFile {
    /// How it is called in messages.
    fn reference(&self) -> &str {
        match &self.0 {
            Place::Link(link) => link.reference(),
            Place::Repository(source) => source.session.reference(),
        }
    }

    /// The length of its bytes, which have that digest, if it is told.
    pub(crate) async fn length(&self, digest: &Digest) -> Result<Option<Bytes>, SourceError> {
        let length = match &self.0 {
            Place::Link(link) => link.length().await,
            Place::Repository(source) => {
                let asked = source
                    .session
                    .call(|endpoint| endpoint.blob_length(digest).boxed());
                asked.await
            }
        };
        Ok(length?.map(Bytes::new))
    }

    async fn rounds(&self, fetch: &BlobFetch<'_>) -> Result<(), SourceError> {
        match &self.0 {
            Place::Link(link) => {
                let round = || link.call(|| fetch.attempt(&**link)).boxed();
                fetch.rounds(round).await
            }
            Place::Repository(source) => source.fetch_rounds(fetch).await,
        }
    }
}
