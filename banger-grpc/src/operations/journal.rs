//! The events of an operation on their way to the database.
//!
//! Invariants: telling never waits; what is told is bounded, and counts that nobody
//! has seen yet are replaced by newer ones; every event that was told is written, and
//! watchers hear of it after it is; of output that comes too fast, it is told how much
//! was left out. Entry points: [`Journal`].

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use banger_api::v1::{BuildOutput, operation_event::Event};
use banger_core::{
    domain::OperationId,
    progress::{ProgressEvent, ProgressSink},
};
use bytes::{Bytes, BytesMut};
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
/// Bytes of them: most of it is output.
const KEPT_BYTES: u32 = 1 << 20;
/// Bytes of output that wait.
const MAX_OUTPUT: usize = 1 << 19;
/// Bytes of output in one event.
const PIECE: usize = 1 << 15;

/// Takes an operation's events.
#[derive(Debug)]
pub(super) struct Journal {
    backend: Backend,
    operation: OperationId,
    news: watch::Sender<u64>,
    waiting: Mutex<Queue>,
    /// How long what took.
    pub(super) receipt: Receipt,
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<Waiting>,
    /// Bytes of output among them.
    output: usize,
    /// Bytes of output since then that nobody will see.
    left_out: u64,
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
            .events
            .iter_mut()
            .find(|one| key.is_some() && one.key == key);
        if let Some(older) = older {
            (older.time, older.event) = (time, event);
            return;
        }
        waiting.push(Waiting { time, event, key });
    }

    /// Takes what a guest said: in pieces of some size, whatever sizes it comes in.
    fn hear(&self, bytes: &Bytes) {
        let time = self.backend.clock.now();
        let mut waiting = self.lock();
        for piece in bytes.chunks(PIECE) {
            waiting.hear(time, piece);
        }
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
        let waiting = self.lock().take(self.backend.clock.now());
        if waiting.is_empty() {
            return;
        }
        let encoded = waiting
            .into_iter()
            .map(|one| (one.time, encode_event(one.event)));
        let events: Vec<_> = encoded.collect();
        let store = &self.backend.store;
        match store
            .add_operation_events(self.operation, &events, KEPT, KEPT_BYTES)
            .await
        {
            Ok(last) => {
                self.news.send_replace(last);
            }
            // progress is not worth failing for
            Err(error) => tracing::warn!(%error, "an operation's progress cannot be recorded"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn push(&mut self, one: Waiting) {
        if self.events.len() == MAX_WAITING {
            let oldest = self.events.pop_front();
            if let Some(Event::BuildOutput(lost)) = oldest.map(|one| one.event) {
                self.output -= lost.data.len();
                self.left_out += lost.data.len() as u64 + lost.left_out_bytes;
            }
        }
        self.events.push_back(one);
    }

    /// Takes output: more of the last event, or another one.
    fn hear(&mut self, time: SystemTime, piece: &[u8]) {
        if MAX_OUTPUT < self.output + piece.len() {
            self.left_out += piece.len() as u64;
            return;
        }
        self.output += piece.len();
        let last = self.events.back_mut().map(|one| &mut one.event);
        match last {
            Some(Event::BuildOutput(last))
                if self.left_out == 0 && last.data.len() + piece.len() <= PIECE =>
            {
                let mut data = BytesMut::from(std::mem::take(&mut last.data));
                data.extend_from_slice(piece);
                last.data = data.freeze();
            }
            _ => self.push_output(time, Bytes::copy_from_slice(piece)),
        }
    }

    fn push_output(&mut self, time: SystemTime, data: Bytes) {
        let event = Event::BuildOutput(BuildOutput {
            data,
            left_out_bytes: std::mem::take(&mut self.left_out),
        });
        let key = None;
        self.push(Waiting { time, event, key });
    }

    /// All that waits, with how much was left out since the last of it.
    fn take(&mut self, now: SystemTime) -> VecDeque<Waiting> {
        if self.left_out != 0 {
            self.push_output(now, Bytes::new());
        }
        self.output = 0;
        std::mem::take(&mut self.events)
    }
}

impl ProgressSink for Journal {
    fn emit(&self, event: ProgressEvent) {
        self.receipt.hear(&event);
        if let ProgressEvent::BuildOutput { bytes } = &event {
            return self.hear(bytes);
        }
        if let Some((event, key)) = progress::event(event) {
            self.take(event, key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(queue: &mut Queue) -> (Vec<u8>, u64) {
        let taken = queue.take(SystemTime::UNIX_EPOCH);
        let (mut bytes, mut left_out) = (Vec::new(), 0);
        for one in taken {
            let Event::BuildOutput(output) = one.event else {
                panic!("{one:?} is no output");
            };
            assert!(output.data.len() <= PIECE);
            bytes.extend_from_slice(&output.data);
            left_out += output.left_out_bytes;
        }
        (bytes, left_out)
    }

    #[test]
    fn output_is_told_in_order_and_what_is_too_much_is_counted() {
        let mut queue = Queue::default();
        let said: Vec<u8> = (0..10_000_u32).flat_map(u32::to_le_bytes).collect();
        for piece in said.chunks(7) {
            queue.hear(SystemTime::UNIX_EPOCH, piece);
        }
        assert!(queue.events.len() < 5, "{}", queue.events.len());
        assert_eq!(output(&mut queue), (said, 0));
        let piece = vec![7; PIECE];
        for _ in 0..20 {
            queue.hear(SystemTime::UNIX_EPOCH, &piece);
        }
        let (bytes, left_out) = output(&mut queue);
        assert_eq!(bytes.len(), MAX_OUTPUT);
        assert_eq!(left_out, (20 * PIECE - MAX_OUTPUT) as u64);
        assert_eq!(output(&mut queue), (Vec::new(), 0));
    }

    #[test]
    fn a_full_queue_says_how_much_went() {
        let mut queue = Queue::default();
        queue.hear(SystemTime::UNIX_EPOCH, b"lost");
        for _ in 0..MAX_WAITING {
            queue.push(Waiting {
                time: SystemTime::UNIX_EPOCH,
                event: Event::Booting(banger_api::v1::Booting {}),
                key: None,
            });
        }
        assert_eq!((queue.output, queue.left_out), (0, 4));
        queue.hear(SystemTime::UNIX_EPOCH, b"kept");
        let taken = queue.take(SystemTime::UNIX_EPOCH);
        let Some(Event::BuildOutput(last)) = taken.back().map(|one| &one.event) else {
            panic!("{taken:?}");
        };
        assert_eq!((&last.data[..], last.left_out_bytes), (&b"kept"[..], 4));
    }
}
