//! What a process wrote, as much of it as is kept. Pure.
//!
//! Invariants: offsets count the bytes of both streams together, in the order
//! in which they were read; what is kept is one range of them, the newest;
//! bytes and their bookkeeping together stay within the capacity; what nobody
//! acknowledged goes only when the caller says that the oldest may.

use std::collections::VecDeque;

use banger_proto::{MAX_EXEC_CHUNK, guest::v1::ExecStream};
use bytes::Bytes;

/// What the change from one stream to the other is counted as, in bytes.
const RUN_COST: usize = 32;

/// The newest output of a process.
#[derive(Debug)]
pub(super) struct Ring {
    bytes: VecDeque<u8>,
    /// Where the stream changes, oldest first; the first covers [`Self::first`].
    runs: VecDeque<Run>,
    first: u64,
    acknowledged: u64,
    capacity: usize,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    stream: ExecStream,
    start: u64,
}

/// What a full ring does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// Takes nothing.
    Refuse,
    /// Lets the oldest go.
    DropOldest,
}

/// A piece of one stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) stream: ExecStream,
    pub(super) offset: u64,
    pub(super) bytes: Bytes,
}

impl Ring {
    /// An empty one; a chunk always fits into the capacity.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            bytes: VecDeque::new(),
            runs: VecDeque::new(),
            first: 0,
            acknowledged: 0,
            capacity: capacity.max(MAX_EXEC_CHUNK + RUN_COST),
        }
    }

    /// Offset of the oldest byte that is kept.
    pub(super) const fn first(&self) -> u64 {
        self.first
    }

    /// Offset after the newest byte.
    pub(super) fn end(&self) -> u64 {
        self.first + self.bytes.len() as u64
    }

    /// Bytes of memory that count against the capacity.
    pub(super) fn cost(&self) -> usize {
        self.bytes.len() + self.runs.len() * RUN_COST
    }

    /// Takes a chunk of at most [`MAX_EXEC_CHUNK`] bytes, or none of it.
    pub(super) fn push(&mut self, stream: ExecStream, chunk: &[u8], full: Full) -> bool {
        let wanted = (self.cost() + chunk.len() + RUN_COST).saturating_sub(self.capacity);
        self.make_room(wanted, full);
        if self.capacity < self.cost() + chunk.len() + RUN_COST {
            return false;
        }
        if self.runs.back().is_none_or(|run| run.stream != stream) && !chunk.is_empty() {
            let start = self.end();
            self.runs.push_back(Run { stream, start });
        }
        self.bytes.extend(chunk);
        true
    }

    /// Everything below the offset is safe with the client.
    pub(super) fn acknowledge(&mut self, offset: u64) {
        self.acknowledged = self.acknowledged.max(offset.min(self.end()));
    }

    /// What is kept at an offset, at most `limit` bytes of it and of one stream.
    pub(super) fn read(&self, offset: u64, limit: usize) -> Option<Piece> {
        let start = usize::try_from(offset.checked_sub(self.first)?).ok()?;
        let next = self.runs.partition_point(|run| run.start <= offset);
        let run = self.runs.get(next.checked_sub(1)?)?;
        let run_end = self.runs.get(next).map_or(self.end(), |run| run.start);
        let length = usize::try_from(run_end.checked_sub(offset)?).ok()?;
        let end = start + length.min(limit);
        if start == end || self.bytes.len() < end {
            return None;
        }
        let mut bytes = Vec::with_capacity(end - start);
        let (older, newer) = self.bytes.as_slices();
        let split = older.len();
        bytes.extend_from_slice(older.get(start..end.min(split)).unwrap_or_default());
        let (from, to) = (start.saturating_sub(split), end.saturating_sub(split));
        bytes.extend_from_slice(newer.get(from..to).unwrap_or_default());
        Some(Piece {
            stream: run.stream,
            offset,
            bytes: bytes.into(),
        })
    }

    /// Gives back memory that a ring which takes no more does not need.
    pub(super) fn settle(&mut self) {
        self.bytes.shrink_to_fit();
        self.runs.shrink_to_fit();
    }

    /// Lets at least `wanted` bytes of what may go, go.
    fn make_room(&mut self, wanted: usize, full: Full) {
        let may_go = match full {
            Full::Refuse => self.acknowledged.saturating_sub(self.first),
            Full::DropOldest => u64::MAX,
        };
        let may_go = usize::try_from(may_go).unwrap_or(usize::MAX);
        let count = wanted.min(may_go).min(self.bytes.len());
        self.bytes.drain(..count);
        self.first += count as u64;
        while self.runs.get(1).is_some_and(|run| run.start <= self.first) {
            self.runs.pop_front();
        }
        if self.bytes.is_empty() {
            self.runs.clear();
        }
    }
}

#[cfg(test)]
mod tests;
