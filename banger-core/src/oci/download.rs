//! Layers on their way from a registry into the cache.
//!
//! Invariants: identical downloads by several tasks and processes share one,
//! by the blob's lock; a download goes on where the last one ended; events are
//! few, and the last one says that all is there.

use std::{pin::pin, sync::Arc, time::Duration};

use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture};
use oci_client::client::{BlobResponse, SizedStream};
use tokio::time::Instant;

use super::{
    LayerBlob, LayerBytes, LayerDescriptor, SourceError,
    arrival::{ArrivalFeed, arrival},
    document::Blob,
    partial::{Partial, PartialError},
    registry::RegistrySource,
    registry_error::{Attempt, classify_io, is_digest_mismatch},
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
            let attempt = || {
                let attempt = self.attempt(blob, Arc::clone(lock), feed, progress);
                attempt.boxed()
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
        blob: Blob,
        lock: Arc<FileLock>,
        feed: &Arc<ArrivalFeed>,
        progress: &dyn ProgressSink,
    ) -> Result<(), Attempt> {
        let opened = self.cache.partial(blob, lock, Arc::clone(feed)).await;
        let mut partial = opened.map_err(|error| self.spoiled(&blob, error))?;
        if !partial.is_complete() {
            let received = self.receive(&blob, &mut partial, progress).await;
            let kept = partial.flush().await;
            received?;
            kept.map_err(|error| self.spoiled(&blob, error))?;
        }
        let published = partial.publish().await;
        published.map_err(|error| self.spoiled(&blob, error))
    }

    async fn receive(
        &self,
        blob: &Blob,
        partial: &mut Partial,
        progress: &dyn ProgressSink,
    ) -> Result<(), Attempt> {
        let mut stream = pin!(self.request(blob, partial).await?.stream);
        let mut next_event = Instant::now();
        while let Some(chunk) = stream.next().await {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                // publishing finds that out by itself, and says what differs
                Err(error) if is_digest_mismatch(&error) => break,
                Err(error) => return Err(classify_io(self.session.reference(), &error)),
            };
            let appended = partial.append(&chunk).await;
            appended.map_err(|error| self.spoiled(blob, error))?;
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

    /// Asks for what is missing of a blob. Whether a registry answers the very
    /// range it was asked for cannot be seen here; the digest of the whole
    /// tells.
    async fn request(&self, blob: &Blob, partial: &mut Partial) -> Result<SizedStream, Attempt> {
        let image = self.session.client_reference(None);
        let name = blob.digest.to_string();
        let client = &self.session.client;
        let offset = partial.length();
        if offset == 0 {
            let answer = client.pull_blob_stream(&image, name.as_str()).await;
            return answer.map_err(|error| self.session.failed(error));
        }
        let answer = client
            .pull_blob_stream_partial(&image, name.as_str(), offset, None)
            .await;
        match answer {
            Ok(BlobResponse::Partial(stream)) => Ok(stream),
            // the registry does not resume: what is there is sent again
            Ok(BlobResponse::Full(stream)) => {
                self.restart(blob, partial).await?;
                Ok(stream)
            }
            Err(error) => {
                let attempt = self.session.failed(error);
                if attempt.is_refused_range() {
                    self.restart(blob, partial).await?;
                    return Err(Attempt::transient(attempt.error));
                }
                Err(attempt)
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
