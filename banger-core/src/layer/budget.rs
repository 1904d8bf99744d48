//! Memory for bytes on their way between threads.
//!
//! Invariants: no more chunks exist than were allowed; the stream whose turn
//! it is always gets a few, so that streams ahead of it never starve it; once
//! stopped, nobody waits.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Bytes of one chunk.
pub(crate) const CHUNK: usize = 1 << 18;
/// Chunks that the stream whose turn it is may have beyond the limit.
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
    /// Those of the stream whose turn it is, and which stream that is.
    used_in_turn: usize,
    turn: usize,
    spare: Vec<Vec<u8>>,
    stopped: bool,
}

/// Bytes of a stream, given back when dropped.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) bytes: Vec<u8>,
    /// How many of the bytes are used.
    pub(crate) length: usize,
    stream: usize,
    budget: Arc<Budget>,
}

impl Budget {
    /// At most `bytes` at a time, and the reserve.
    pub(crate) fn new(bytes: u64) -> Arc<Self> {
        let limit = usize::try_from(bytes).unwrap_or(usize::MAX) / CHUNK;
        Arc::new(Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            limit,
        })
    }

    /// Most chunks that exist at a time.
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
        state.used_in_turn += usize::from(state.turn == stream);
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
        state.used < self.limit || (state.turn == stream && state.used_in_turn < RESERVE)
    }

    /// Says whose turn it is. Streams take turns in ascending order.
    pub(crate) fn set_turn(&self, stream: usize) {
        let mut state = self.lock();
        state.turn = stream;
        // chunks it took ahead of its turn do not count against its reserve
        state.used_in_turn = 0;
        drop(state);
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

impl Drop for Chunk {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut state = self.budget.lock();
        state.used -= 1;
        if state.turn == self.stream {
            state.used_in_turn = state.used_in_turn.saturating_sub(1);
        }
        state.spare.push(bytes);
        drop(state);
        self.budget.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_ahead_never_starves_the_one_whose_turn_it_is() {
        let budget = Budget::new(2 * CHUNK as u64);
        let ahead: Vec<Chunk> = (0..2).filter_map(|_| budget.take(1)).collect();
        assert_eq!(ahead.len(), 2);
        let reserve: Vec<Chunk> = (0..RESERVE).filter_map(|_| budget.take(0)).collect();
        assert_eq!(ahead.len() + reserve.len(), budget.most());
        // another stream's turn: it has a reserve of its own
        budget.set_turn(1);
        assert!(budget.take(1).is_some());
        drop((ahead, reserve));
        let again: Vec<Chunk> = (0..2).filter_map(|_| budget.take(5)).collect();
        assert_eq!(again.len(), 2, "what was given back is handed out again");
    }

    #[test]
    fn whoever_waits_is_let_go() {
        let budget = Budget::new(0);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| budget.take(7).is_none());
            budget.stop();
            assert!(waiting.join().unwrap());
        });
    }
}
