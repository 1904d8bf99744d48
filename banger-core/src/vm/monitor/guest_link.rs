//! The way to the guest's agent as it is at the moment.
//!
//! Purpose: machines that were kept, or went on from what was kept, lose the
//! stream to their agent and get another one. Invariants: there is one link at
//! a time, and once there is one there always is, though it may be broken; each
//! stream that the channel gives is tried, and only an agent that answered on
//! it becomes the link. Entry points: [`GuestLink`], [`GuestLink::keep_up`].

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::guest::{ANSWER_PATIENCE, greet};
use crate::{
    clock::Clock,
    vm::{http2::Http2Client, in_words},
    vmm::Channel,
};

/// Between one stream that was of no use and the next.
const PAUSE: Duration = Duration::from_millis(50);

/// The link. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct GuestLink(Arc<watch::Sender<Option<Http2Client>>>);

/// Tells of new links.
#[derive(Debug)]
pub(super) struct LinkChanges(watch::Receiver<Option<Http2Client>>);

impl GuestLink {
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// The agent, once it answered.
    pub(super) fn get(&self) -> Option<Http2Client> {
        self.0.borrow().clone()
    }

    /// An agent answered.
    pub(super) fn set(&self, client: Http2Client) {
        self.0.send_replace(Some(client));
    }

    /// Tells of the links from now on.
    pub(super) fn changes(&self) -> LinkChanges {
        LinkChanges(self.0.subscribe())
    }

    /// Takes every stream that the channel still gives, until `closing`.
    pub(super) fn keep_up(
        &self,
        mut channel: Channel,
        clock: Arc<dyn Clock>,
        tracker: &TaskTracker,
        closing: CancellationToken,
    ) {
        let (link, connections) = (self.clone(), tracker.clone());
        let keeping = async move {
            loop {
                let present = link.get();
                let ended = async {
                    if let Some(client) = &present {
                        client.ended().await;
                    }
                };
                let stream = match channel.open_anew(ended).await {
                    Ok(stream) => stream,
                    Err(error) => {
                        tracing::warn!(error = in_words(&error), "the guest cannot be reached");
                        sleep(ANSWER_PATIENCE).await;
                        continue;
                    }
                };
                let greeting = greet(stream, &connections, clock.as_ref());
                match timeout(ANSWER_PATIENCE, greeting).await {
                    Ok(Ok(greeting)) => link.set(greeting.client),
                    refused => {
                        tracing::debug!(?refused, "a new channel is of no use");
                        sleep(PAUSE).await;
                    }
                }
            }
        };
        drop(tracker.spawn(async move { closing.run_until_cancelled(keeping).await }));
    }
}

impl LinkChanges {
    /// The next link; waits for as long as the monitor lives.
    pub(super) async fn next(&mut self) -> Http2Client {
        loop {
            if self.0.changed().await.is_err() {
                return std::future::pending().await;
            }
            if let Some(client) = self.0.borrow_and_update().clone() {
                return client;
            }
        }
    }
}
