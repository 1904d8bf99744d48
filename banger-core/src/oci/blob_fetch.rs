//! One blob's bytes, from wherever they are, into the cache.
//!
//! Invariants: a download goes on where the last one ended; what cannot be
//! continued begins again; whoever watches is told now and then, and once all
//! is there. A crash leaves a partial file that the next fetch goes on with.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt as _, future::BoxFuture};
use tokio::time::Instant;

use super::{
    SourceError,
    arrival::ArrivalFeed,
    cache::BlobCache,
    distribution::{Attempt, BlobAnswer, BlobPlace, Chunks},
    document::Blob,
    partial::{Partial, PartialError},
};
use crate::{domain::Bytes, host_fs::FileLock};

/// Shortest time between two progress events of a blob.
const PROGRESS_PAUSE: Duration = Duration::from_millis(100);
/// Bytes that a round of failed attempts must have brought to earn another.
const WORTHWHILE: u64 = Bytes::MIB;

/// A blob that is fetched by the holder of its lock.
pub(super) struct BlobFetch<'a> {
    pub(super) cache: &'a BlobCache,
    /// How the place is called in messages.
    pub(super) reference: &'a str,
    pub(super) blob: Blob,
    pub(super) lock: Arc<FileLock>,
    pub(super) feed: Arc<ArrivalFeed>,
    /// Told how many bytes there are.
    pub(super) told: &'a (dyn Fn(u64) + Send + Sync),
}

impl BlobFetch<'_> {
    /// Does `round`, which is a few attempts, as long as it brings bytes: a
    /// large blob on a bad line may break off more often than we retry.
    pub(super) async fn rounds<'b>(
        &'b self,
        round: impl Fn() -> BoxFuture<'b, Result<(), SourceError>> + Send + Sync,
    ) -> Result<(), SourceError> {
        loop {
            let before = self.cache.partial_length(&self.blob);
            let done = round().await;
            let after = self.cache.partial_length(&self.blob);
            match done {
                Err(SourceError::Unavailable { .. })
                    if WORTHWHILE <= after.saturating_sub(before) => {}
                done => return done,
            }
        }
    }

    /// One attempt at the blob.
    pub(super) async fn attempt(&self, place: &dyn BlobPlace) -> Result<(), Attempt> {
        let (lock, feed) = (Arc::clone(&self.lock), Arc::clone(&self.feed));
        let opened = self.cache.partial(self.blob, lock, feed).await;
        let mut partial = opened.map_err(|error| self.spoiled(error))?;
        if !partial.is_complete() {
            let received = self.receive(place, &mut partial).await;
            let kept = partial.flush().await;
            received?;
            kept.map_err(|error| self.spoiled(error))?;
        }
        let published = partial.publish().await;
        published.map_err(|error| self.spoiled(error))
    }

    async fn receive(&self, place: &dyn BlobPlace, partial: &mut Partial) -> Result<(), Attempt> {
        let mut stream = self.request(place, partial).await?;
        let mut next_event = Instant::now();
        while let Some(chunk) = stream.next().await {
            let appended = partial.append(&chunk?).await;
            appended.map_err(|error| self.spoiled(error))?;
            if next_event <= Instant::now() || partial.is_complete() {
                next_event = Instant::now() + PROGRESS_PAUSE;
                (self.told)(partial.length());
            }
        }
        Ok(())
    }

    /// Asks for what is missing; what cannot be continued begins again.
    async fn request(
        &self,
        place: &dyn BlobPlace,
        partial: &mut Partial,
    ) -> Result<Chunks, Attempt> {
        let offset = partial.length();
        match place.blob(&self.blob.digest, offset).await? {
            BlobAnswer::Rest(chunks) => Ok(chunks),
            BlobAnswer::Whole(chunks) => {
                if offset != 0 {
                    self.restart(partial).await?;
                }
                Ok(chunks)
            }
            BlobAnswer::NoRest => {
                self.restart(partial).await?;
                Err(Attempt::transient(SourceError::Unavailable {
                    reference: self.reference.to_owned(),
                    reason: "the server does not continue a download".to_owned(),
                }))
            }
        }
    }

    async fn restart(&self, partial: &mut Partial) -> Result<(), Attempt> {
        let restarted = partial.restart().await;
        restarted.map_err(|error| self.spoiled(error))
    }

    /// A download that went wrong on this side, or whose bytes are wrong.
    fn spoiled(&self, error: impl Into<PartialError>) -> Attempt {
        let reference = self.reference.to_owned();
        match error.into() {
            PartialError::Corrupt { problem, may_pass } => {
                let digest = self.blob.digest;
                let error = SourceError::Corrupt {
                    reference,
                    digest,
                    problem,
                };
                Attempt::new(error, may_pass)
            }
            PartialError::Io(source) => Attempt::permanent(SourceError::Io { reference, source }),
        }
    }
}
