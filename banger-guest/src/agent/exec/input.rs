//! Standard input on its way to a process. Pure.
//!
//! Invariants: a byte is taken once, however often it is sent; what waits is
//! bounded, and a client is told how far it may go, so that input which the
//! process does not read never holds up a signal or a new size. A process that
//! closed its input just loses the rest.

use std::collections::VecDeque;

use banger_proto::{
    MAX_EXEC_CHUNK,
    guest::v1::{ExecAccepted, ExecInput, ExecSignal},
};

use super::failure::SpawnError;

/// Bytes that may wait for the process.
const WINDOW: usize = 4 * MAX_EXEC_CHUNK;

/// What a session's clients sent to it.
#[derive(Debug, Default)]
pub(super) struct Input {
    waiting: VecDeque<u8>,
    accepted: u64,
    closed: bool,
    /// Nobody reads any more.
    over: bool,
    signals: u64,
}

/// What is next for the process's standard input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// These bytes; they count as waiting until [`Input::written`].
    Write(Vec<u8>),
    /// Its end.
    Close,
}

impl Input {
    /// How far it has come.
    pub(super) fn accepted(&self) -> ExecAccepted {
        ExecAccepted {
            stdin_offset: self.accepted,
            stdin_limit: self.limit(),
            signals: self.signals,
        }
    }

    /// Whether its end was sent.
    pub(super) const fn is_closed(&self) -> bool {
        self.closed
    }

    /// Takes what is new of a piece.
    pub(super) fn take(&mut self, input: &ExecInput) -> Result<(), SpawnError> {
        if MAX_EXEC_CHUNK < input.bytes.len() {
            return Err(SpawnError::invalid("a chunk of input is over 65536 bytes"));
        }
        let known = self.accepted.checked_sub(input.offset);
        let known = known.ok_or_else(|| SpawnError::invalid("input was left out"))?;
        let known = usize::try_from(known).unwrap_or(usize::MAX);
        let fresh = input.bytes.get(known..).unwrap_or_default();
        if fresh.is_empty() {
            return Ok(());
        }
        if self.closed {
            return Err(SpawnError::invalid("input after its end"));
        }
        let end = self.accepted + fresh.len() as u64;
        if self.limit() < end {
            return Err(SpawnError::invalid("input beyond the limit"));
        }
        self.accepted = end;
        if !self.over {
            self.waiting.extend(fresh);
        }
        Ok(())
    }

    /// No more comes after what is there.
    pub(super) const fn close(&mut self) {
        self.closed = true;
    }

    /// Takes a signal; answers whether it is a new one.
    pub(super) fn take_signal(&mut self, signal: ExecSignal) -> Result<bool, SpawnError> {
        if self.signals < signal.ordinal {
            return Err(SpawnError::invalid("a signal was left out"));
        }
        if signal.ordinal < self.signals {
            return Ok(false);
        }
        self.signals += 1;
        Ok(true)
    }

    /// Whether there is something to do.
    pub(super) fn has_next(&self) -> bool {
        !self.waiting.is_empty() || (self.closed && !self.over)
    }

    /// What to do next; none for now.
    pub(super) fn next(&self) -> Option<Next> {
        if self.waiting.is_empty() {
            return (self.closed && !self.over).then_some(Next::Close);
        }
        let count = self.waiting.len().min(MAX_EXEC_CHUNK);
        Some(Next::Write(self.waiting.range(..count).copied().collect()))
    }

    /// So many bytes have reached the process.
    pub(super) fn written(&mut self, count: usize) {
        self.waiting.drain(..count.min(self.waiting.len()));
    }

    /// Nobody reads any more.
    pub(super) fn end(&mut self) {
        self.over = true;
        self.waiting = VecDeque::new();
    }

    fn limit(&self) -> u64 {
        self.accepted + (WINDOW - self.waiting.len()) as u64
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn piece(offset: u64, bytes: &'static [u8]) -> ExecInput {
        let bytes = Bytes::from_static(bytes);
        ExecInput { offset, bytes }
    }

    #[test]
    fn a_byte_is_taken_once() {
        let mut input = Input::default();
        for (offset, bytes) in [
            (0, &b"ab"[..]),
            (0, b"ab"),
            (1, b"bcd"),
            (4, b""),
            (0, b"a"),
        ] {
            input.take(&piece(offset, bytes)).unwrap();
        }
        assert_eq!(input.next(), Some(Next::Write(b"abcd".to_vec())));
        assert_eq!(input.accepted().stdin_offset, 4);
        input.take(&piece(5, b"x")).unwrap_err();
        input.close();
        input.close();
        input.take(&piece(2, b"cd")).unwrap();
        input.take(&piece(3, b"de")).unwrap_err();
        input.written(4);
        assert_eq!(input.next(), Some(Next::Close));
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut input = Input::default();
        let chunk = Bytes::from(vec![1; MAX_EXEC_CHUNK]);
        let mut offset = 0;
        while offset < input.accepted().stdin_limit {
            let bytes = chunk.clone();
            input.take(&ExecInput { offset, bytes }).unwrap();
            offset += chunk.len() as u64;
        }
        assert_eq!(offset, WINDOW as u64);
        input.take(&piece(offset, b"x")).unwrap_err();
        input.written(10);
        assert_eq!(input.accepted().stdin_limit, offset + 10);
        input.take(&piece(offset, b"x")).unwrap();
        // a process that reads no more takes everything
        input.end();
        input.take(&piece(offset + 1, b"yz")).unwrap();
        assert_eq!(input.accepted().stdin_limit, offset + 3 + WINDOW as u64);
        assert_eq!(input.next(), None);
        let bytes = vec![0; MAX_EXEC_CHUNK + 1].into();
        input.take(&ExecInput { offset, bytes }).unwrap_err();
    }

    #[test]
    fn a_signal_is_taken_once() {
        let mut input = Input::default();
        let mut take = |number, ordinal| input.take_signal(ExecSignal { number, ordinal }).ok();
        assert_eq!(take(15, 0), Some(true));
        assert_eq!(take(15, 0), Some(false));
        assert_eq!(take(2, 2), None);
        assert_eq!(take(2, 1), Some(true));
        assert_eq!(input.accepted().signals, 2);
    }
}
