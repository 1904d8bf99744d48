//! The events of an operation on their way to the database.
//!
//! Invariants: telling never waits; what is told is bounded, and counts that nobody
//! has seen yet are replaced by newer ones; every event that was told is written, and
//! watchers hear of it after it is. Entry points: [`Journal`].

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use banger_api::v1::operation_event::Event;
use banger_core::{
    domain::OperationId,
    progress::{ProgressEvent, ProgressSink},
};
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

use super::receipt::Receipt;
use crate::{
    backend::Backend,
    convert::{operation::encode_event, progress},
};

/// How often what was told is written: ten times a second at most.
const PAUSE: Duration = Duration::from_millis(100);
/// Most events that wait; the oldest go when there are more.
const MAX_WAITING: usize = 256;
/// Events that are kept of one operation.
const KEPT: u32 = 1000;

/// Takes an operation's events.
#[derive(Debug)]
pub(super) struct Journal {
    backend: Backend,
    operation: OperationId,
    news: watch::Sender<u64>,
    waiting: Mutex<VecDeque<Waiting>>,
    /// How long what took.
    pub(super) receipt: Receipt,
}

#[derive(Debug)]
struct Waiting {
    time: SystemTime,
    event: Event,
    /// What a newer event replaces.
    key: Option<String>,
}

impl Journal {
    pub(super) fn new(
        backend: Backend,
        operation: OperationId,
        news: watch::Sender<u64>,
    ) -> Arc<Self> {
        Arc::new(Self {
            backend,
            operation,
            news,
            waiting: Mutex::default(),
            receipt: Receipt::default(),
        })
    }

    /// Takes one event.
    pub(super) fn tell(&self, event: Event) {
        self.take(event, None);
    }

    fn take(&self, event: Event, key: Option<String>) {
        let mut waiting = self.lock();
        let time = self.backend.clock.now();
        let older = waiting
            .iter_mut()
            .find(|one| key.is_some() && one.key == key);
        if let Some(older) = older {
            (older.time, older.event) = (time, event);
            return;
        }
        if waiting.len() == MAX_WAITING {
            waiting.pop_front();
        }
        waiting.push_back(Waiting { time, event, key });
    }

    /// Writes what is told, until it is over and everything is written.
    pub(super) async fn keep_writing(&self, over: &CancellationToken) {
        while !over.is_cancelled() {
            self.write().await;
            tokio::select! {
                () = sleep(PAUSE) => {}
                () = over.cancelled() => {}
            }
        }
        self.write().await;
    }

    async fn write(&self) {
        let waiting = std::mem::take(&mut *self.lock());
        if waiting.is_empty() {
            return;
        }
        let encoded = waiting
            .into_iter()
            .map(|one| (one.time, encode_event(one.event)));
        let events: Vec<_> = encoded.collect();
        let store = &self.backend.store;
        match store
            .add_operation_events(self.operation, &events, KEPT)
            .await
        {
            Ok(last) => {
                self.news.send_replace(last);
            }
            // progress is not worth failing for
            Err(error) => tracing::warn!(%error, "an operation's progress cannot be recorded"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProgressSink for Journal {
    fn emit(&self, event: ProgressEvent) {
        self.receipt.hear(&event);
        if let Some((event, key)) = progress::event(event) {
            self.take(event, key);
        }
    }
}
