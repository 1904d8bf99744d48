//! Memory for bytes on their way between threads.
//!
//! Invariants: no more chunks exist than were allowed; a stream that is being
//! read always gets a few, so that others never starve it; once stopped,
//! nobody waits.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Bytes of one chunk.
pub(crate) const CHUNK: usize = 1 << 19;
/// Chunks that every stream being read may have, beyond the limit too.
const RESERVE: usize = 8;

/// Hands out buffers of [`CHUNK`] bytes.
#[derive(Debug)]
pub(crate) struct Budget {
    state: Mutex<State>,
    changed: Condvar,
    limit: usize,
}

#[derive(Debug, Default)]
struct State {
    /// Chunks that exist.
    used: usize,
    /// Those of each stream.
    used_by: Vec<usize>,
    /// How many streams are being read, or were.
    begun: usize,
    spare: Vec<Vec<u8>>,
    stopped: bool,
}

/// Bytes of a stream, given back when dropped.
#[derive(Debug)]
pub(crate) struct Chunk {
    bytes: Vec<u8>,
    /// How many of the bytes are used.
    pub(crate) length: usize,
    stream: usize,
    budget: Arc<Budget>,
}

impl Budget {
    /// At most `bytes` at a time for so many streams, and the reserves of those
    /// that are being read.
    pub(crate) fn new(bytes: u64, streams: usize) -> Arc<Self> {
        let limit = usize::try_from(bytes).unwrap_or(usize::MAX) / CHUNK;
        Arc::new(Self {
            state: Mutex::new(State {
                used_by: vec![0; streams],
                ..State::default()
            }),
            changed: Condvar::new(),
            limit,
        })
    }

    /// Most chunks of one stream that exist at a time.
    pub(crate) fn most(&self) -> usize {
        self.limit.saturating_add(RESERVE)
    }

    /// Waits for a chunk for `stream`; none when the work was stopped.
    pub(crate) fn take(self: &Arc<Self>, stream: usize) -> Option<Chunk> {
        let state = self.lock();
        let waiting = |state: &mut State| !state.stopped && !self.allows(state, stream);
        let mut state = self
            .changed
            .wait_while(state, waiting)
            .unwrap_or_else(PoisonError::into_inner);
        if state.stopped {
            return None;
        }
        state.used += 1;
        state.used_by[stream] += 1;
        let spare = state.spare.pop();
        drop(state);
        Some(Chunk {
            bytes: spare.unwrap_or_else(|| vec![0; CHUNK]),
            length: 0,
            stream,
            budget: Arc::clone(self),
        })
    }

    fn allows(&self, state: &State, stream: usize) -> bool {
        state.used < self.limit || (stream < state.begun && state.used_by[stream] < RESERVE)
    }

    /// Says that a stream is being read now. Streams begin in ascending order.
    pub(crate) fn begin(&self, stream: usize) {
        self.lock().begun = stream + 1;
        self.changed.notify_all();
    }

    /// Lets everybody who waits go.
    pub(crate) fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Chunk {
    /// Room for the whole chunk.
    pub(crate) fn buffer(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// The bytes that are used.
    pub(crate) fn filled(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut state = self.budget.lock();
        state.used -= 1;
        state.used_by[self.stream] -= 1;
        state.spare.push(bytes);
        drop(state);
        self.budget.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_never_starve_a_stream_that_is_being_read() {
        let budget = Budget::new(2 * CHUNK as u64, 6);
        let ahead: Vec<Chunk> = (0..2).filter_map(|_| budget.take(1)).collect();
        assert_eq!(ahead.len(), 2);
        budget.begin(0);
        let reserve: Vec<Chunk> = (0..RESERVE).filter_map(|_| budget.take(0)).collect();
        assert_eq!(reserve.len(), RESERVE);
        // another one begins: it has a reserve of its own
        budget.begin(1);
        assert!(budget.take(1).is_some());
        drop((ahead, reserve));
        let again: Vec<Chunk> = (0..2).filter_map(|_| budget.take(5)).collect();
        assert_eq!(again.len(), 2, "what was given back is handed out again");
    }

    #[test]
    fn whoever_waits_is_let_go() {
        let budget = Budget::new(0, 8);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| budget.take(7).is_none());
            budget.stop();
            assert!(waiting.join().unwrap());
        });
    }
}
