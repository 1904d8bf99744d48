//! Layers on their way from a registry into the cache.
//!
//! Invariants: identical downloads by several tasks and processes share one,
//! by the blob's lock; a download goes on where the last one ended; events are
//! few, and the last one says that all is there.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture};
use tokio::time::Instant;

use super::{
    LayerBlob, LayerBytes, LayerDescriptor, SourceError,
    arrival::{ArrivalFeed, arrival},
    distribution::{Attempt, BlobAnswer, Chunks, Endpoint},
    document::Blob,
    partial::{Partial, PartialError},
    registry::RegistrySource,
};
use crate::{
    domain::Bytes,
    host_fs::FileLock,
    progress::{ProgressEvent, ProgressSink},
};

/// Shortest time between two progress events of a layer.
const PROGRESS_PAUSE: Duration = Duration::from_millis(100);
/// Bytes that a round of failed attempts must have brought to earn another.
const WORTHWHILE: u64 = Bytes::MIB;

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
            self.download(blob, &lock, &feed, progress).await?;
        }
        feed.end();
        Ok(())
    }

    async fn download(
        &self,
        blob: Blob,
        lock: &Arc<FileLock>,
        feed: &Arc<ArrivalFeed>,
        progress: &dyn ProgressSink,
    ) -> Result<(), SourceError> {
        loop {
            let before = self.cache.partial_length(&blob);
            let attempt = |endpoint| {
                let lock = Arc::clone(lock);
                self.attempt(endpoint, blob, lock, feed, progress).boxed()
            };
            let done = self.session.call(attempt).await;
            let gained = self.cache.partial_length(&blob).saturating_sub(before);
            // a large blob on a bad line may break off more often than we retry
            match done {
                Err(SourceError::Unavailable { .. }) if WORTHWHILE <= gained => {}
                done => return done,
            }
        }
    }

    /// One attempt at a blob.
    async fn attempt(
        &self,
        endpoint: &Endpoint,
        blob: Blob,
        lock: Arc<FileLock>,
        feed: &Arc<ArrivalFeed>,
        progress: &dyn ProgressSink,
    ) -> Result<(), Attempt> {
        let opened = self.cache.partial(blob, lock, Arc::clone(feed)).await;
        let mut partial = opened.map_err(|error| self.spoiled(&blob, error))?;
        if !partial.is_complete() {
            let received = self.receive(endpoint, &mut partial, progress).await;
            let kept = partial.flush().await;
            received?;
            kept.map_err(|error| self.spoiled(&blob, error))?;
        }
        let published = partial.publish().await;
        published.map_err(|error| self.spoiled(&blob, error))
    }

    async fn receive(
        &self,
        endpoint: &Endpoint,
        partial: &mut Partial,
        progress: &dyn ProgressSink,
    ) -> Result<(), Attempt> {
        let blob = *partial.blob();
        let mut stream = self.request(endpoint, partial).await?;
        let mut next_event = Instant::now();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| endpoint.broken(error))?;
            let appended = partial.append(&chunk).await;
            appended.map_err(|error| self.spoiled(&blob, error))?;
            if next_event <= Instant::now() || partial.is_complete() {
                next_event = Instant::now() + PROGRESS_PAUSE;
                progress.emit(ProgressEvent::LayerProgress {
                    layer: blob.digest,
                    done: Bytes::new(partial.length()),
                    total: blob.size,
                });
            }
        }
        Ok(())
    }

    /// Asks for what is missing of a blob; what cannot be continued begins
    /// again.
    async fn request(&self, endpoint: &Endpoint, partial: &mut Partial) -> Result<Chunks, Attempt> {
        let blob = *partial.blob();
        let offset = partial.length();
        match endpoint.blob(&blob.digest, offset).await? {
            BlobAnswer::Rest(chunks) => Ok(chunks),
            BlobAnswer::Whole(chunks) => {
                if offset != 0 {
                    self.restart(&blob, partial).await?;
                }
                Ok(chunks)
            }
            BlobAnswer::NoRest => {
                self.restart(&blob, partial).await?;
                Err(Attempt::transient(SourceError::Unavailable {
                    reference: self.session.reference().to_owned(),
                    reason: "the registry does not continue a download".to_owned(),
                }))
            }
        }
    }

    async fn restart(&self, blob: &Blob, partial: &mut Partial) -> Result<(), Attempt> {
        let restarted = partial.restart().await;
        restarted.map_err(|error| self.spoiled(blob, error))
    }

    /// A download that went wrong on this side, or whose bytes are wrong.
    fn spoiled(&self, blob: &Blob, error: impl Into<PartialError>) -> Attempt {
        match error.into() {
            PartialError::Corrupt { problem, may_pass } => {
                Attempt::new(self.corrupt(&blob.digest, problem), may_pass)
            }
            PartialError::Io(source) => Attempt::permanent(SourceError::Io {
                reference: self.session.reference().to_owned(),
                source,
            }),
        }
    }
}
