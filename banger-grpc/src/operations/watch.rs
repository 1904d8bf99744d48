//! The events of an operation, for whoever watches it.
//!
//! Invariants: events come from the database, so that a watcher that is slow costs
//! a page of them and misses none that is kept; nothing is done for one that does
//! not ask for more. Entry points: [`Events`].

use std::{collections::VecDeque, sync::Arc, time::Duration};

use banger_api::v1;
use banger_core::domain::OperationId;
use tokio::time::timeout;

use super::Inner;
use crate::{
    caller::Caller,
    convert::operation::{ended, event},
    fault::Fault,
};

/// Events that are read at a time.
const PAGE: u32 = 64;
/// How long nothing may be heard before the record is looked at.
const PATIENCE: Duration = Duration::from_secs(5);

/// Events of an operation, from a number on.
#[derive(Debug)]
pub(crate) struct Events {
    inner: Arc<Inner>,
    caller: Caller,
    id: OperationId,
    from: u64,
    read: VecDeque<v1::OperationEvent>,
    over: bool,
}

impl Events {
    pub(super) const fn new(inner: Arc<Inner>, caller: Caller, id: OperationId, from: u64) -> Self {
        Self {
            inner,
            caller,
            id,
            from,
            read: VecDeque::new(),
            over: false,
        }
    }

    /// The next event; none after the end. Cancelling loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Option<v1::OperationEvent>, Fault> {
        loop {
            if let Some(event) = self.read.pop_front() {
                self.from = event.sequence + 1;
                return Ok(Some(event));
            }
            if self.over {
                return Ok(None);
            }
            self.read().await?;
        }
    }

    /// Reads what there is, or waits for something.
    async fn read(&mut self) -> Result<(), Fault> {
        // subscribed before anything is read: no change is missed
        let news = self.inner.news(self.id).await;
        let record = self.inner.current(&self.caller, self.id).await?;
        let store = &self.inner.backend.store;
        let events = store.operation_events(self.id, self.from, PAGE).await?;
        self.read.extend(events.iter().map(event));
        if !self.read.is_empty() {
            return Ok(());
        }
        if record.state.is_over() {
            self.over = true;
            self.read.push_back(ended(&record));
            return Ok(());
        }
        match news {
            // another server has it, or will: this one is about to end
            None => Err(Fault::draining()),
            Some(mut news) => {
                // whatever it was, the record knows more
                drop(timeout(PATIENCE, news.changed()).await);
                Ok(())
            }
        }
    }
}
