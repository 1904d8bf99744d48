//! Layers on their way from a registry into the cache.
//!
//! Invariants: identical downloads by several tasks and processes share one,
//! by the blob's lock.

use std::sync::Arc;

use futures_util::{FutureExt as _, future::BoxFuture};

use super::{
    LayerBlob, LayerBytes, LayerDescriptor, SourceError,
    arrival::{ArrivalFeed, arrival},
    blob_fetch::BlobFetch,
    document::Blob,
    registry::RegistrySource,
};
use crate::{
    domain::Bytes,
    host_fs::FileLock,
    progress::{ProgressEvent, ProgressSink},
};

impl RegistrySource {
    /// A layer's blob, and, unless it is cached, its fetching.
    pub(super) fn layer<'a>(
        &'a self,
        descriptor: &LayerDescriptor,
        progress: &'a dyn ProgressSink,
    ) -> (LayerBlob, Option<BoxFuture<'a, Result<(), SourceError>>>) {
        let blob = Blob {
            digest: descriptor.digest,
            size: descriptor.size,
        };
        let path = self.cache.path(&blob);
        let (bytes, fetching) = if self.is_cached(&blob, progress) {
            (LayerBytes::File, None)
        } else {
            let (arrival, feed) = arrival(path.clone(), blob.size);
            let fetching = self.locked_layer(blob, Arc::new(feed), progress).boxed();
            (LayerBytes::Arriving(arrival), Some(fetching))
        };
        let layer = LayerBlob {
            path,
            bytes,
            descriptor: descriptor.clone(),
            verified: true,
        };
        (layer, fetching)
    }

    fn is_cached(&self, blob: &Blob, progress: &dyn ProgressSink) -> bool {
        let is_cached = self.cache.find(blob).is_some();
        if is_cached {
            progress.emit(ProgressEvent::LayerCached { layer: blob.digest });
        }
        is_cached
    }

    async fn locked_layer(
        &self,
        blob: Blob,
        feed: Arc<ArrivalFeed>,
        progress: &dyn ProgressSink,
    ) -> Result<(), SourceError> {
        let lock = self.cache.lock(&blob.digest).await;
        let lock = lock.map_err(|source| SourceError::Lock {
            reference: self.session.reference().to_owned(),
            source,
        })?;
        // whoever held the lock may have fetched it
        if !self.is_cached(&blob, progress) {
            let feed = Arc::clone(&feed);
            self.download(blob, lock, feed, progress).await?;
        }
        feed.end();
        Ok(())
    }

    async fn download(
        &self,
        blob: Blob,
        lock: Arc<FileLock>,
        feed: Arc<ArrivalFeed>,
        progress: &dyn ProgressSink,
    ) -> Result<(), SourceError> {
        let told = |done| {
            progress.emit(ProgressEvent::LayerProgress {
                layer: blob.digest,
                done: Bytes::new(done),
                total: blob.size,
            });
        };
        let fetch = BlobFetch {
            cache: &self.cache,
            reference: self.session.reference(),
            blob,
            lock,
            feed,
            told: &told,
        };
        self.fetch_rounds(&fetch).await
    }

    /// Fetches a blob from the first place that has it.
    pub(super) async fn fetch_rounds(&self, fetch: &BlobFetch<'_>) -> Result<(), SourceError> {
        let round = || {
            let done = self
                .session
                .call(|endpoint| fetch.attempt(endpoint).boxed());
            done.boxed()
        };
        fetch.rounds(round).await
    }
}
