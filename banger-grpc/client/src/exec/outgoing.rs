//! What a client has to say to its command, over any number of connections. Pure.
//!
//! Invariants: input and signals are kept until the command took them, and said
//! again on a new connection; what is kept is bounded by not taking more.

use std::collections::VecDeque;

use banger_api::v1::{Accepted, CloseStdin, Stdin, attach_exec_request::Message};
use banger_core::vm::{ExecControl, TerminalSize};
use bytes::Bytes;

/// Bytes of input that are kept before no more is taken. The server holds more than
/// that, so that input never keeps it from hearing anything else.
const INPUT: u64 = 128 << 10;
/// Signals that are kept before no more is taken.
const SIGNALS: usize = 16;
/// Most bytes of input in one message.
const PIECE: usize = 65_536;

/// What is to be said.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// Input that the command has not taken, from `accepted` on.
    input: VecDeque<Bytes>,
    accepted: u64,
    /// Where the next byte of input to be sent is.
    sent: u64,
    /// The caller's input has ended.
    closed: bool,
    closed_said: bool,
    /// Signals that the command has not taken, from `taken_signals` on.
    signals: VecDeque<u32>,
    taken_signals: u64,
    sent_signals: u64,
    size: Option<TerminalSize>,
    size_said: bool,
    acknowledged: u64,
    acknowledged_said: u64,
}

impl Outgoing {
    /// For a command as its client found it, who has the output below an offset.
    pub(super) fn new(accepted: Accepted, offset: u64) -> Self {
        Self {
            accepted: accepted.stdin_offset,
            sent: accepted.stdin_offset,
            taken_signals: accepted.signals,
            sent_signals: accepted.signals,
            acknowledged: offset,
            acknowledged_said: offset,
            ..Self::default()
        }
    }

    /// The same on a new connection, whose client has the output below an offset.
    pub(super) fn resume(&mut self, accepted: Accepted, offset: u64) {
        self.accept(accepted);
        self.sent = self.accepted;
        self.sent_signals = self.taken_signals;
        self.closed_said = false;
        self.size_said = false;
        // the connection began there
        self.acknowledged_said = offset;
    }

    /// Whether no more is to be taken now.
    pub(super) fn is_full(&self) -> bool {
        INPUT <= self.end() - self.accepted || SIGNALS <= self.signals.len()
    }

    /// Takes an order of the caller.
    pub(super) fn take(&mut self, control: ExecControl) {
        match control {
            // input after its end is nobody's
            ExecControl::Stdin(bytes) => {
                if !self.closed && !bytes.is_empty() {
                    self.input.push_back(bytes);
                }
            }
            ExecControl::CloseStdin => self.closed = true,
            ExecControl::Signal(number) => self.signals.push_back(number),
            ExecControl::Resize(size) => {
                self.size = Some(size);
                self.size_said = false;
            }
        }
    }

    /// The caller is done with the output below an offset.
    pub(super) fn acknowledge(&mut self, offset: u64) {
        self.acknowledged = self.acknowledged.max(offset);
    }

    /// The command took input and signals.
    pub(super) fn accept(&mut self, accepted: Accepted) {
        while self.accepted < accepted.stdin_offset {
            let left = accepted.stdin_offset - self.accepted;
            let Some(first) = self.input.front_mut() else {
                // another client sent it
                self.accepted = accepted.stdin_offset;
                break;
            };
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(first.len());
            drop(first.split_to(count));
            self.accepted += count as u64;
            if first.is_empty() {
                self.input.pop_front();
            }
        }
        self.sent = self.sent.max(self.accepted);
        while self.taken_signals < accepted.signals {
            self.signals.pop_front();
            self.taken_signals += 1;
        }
        self.sent_signals = self.sent_signals.max(self.taken_signals);
    }

    /// Whether there is something to be said now.
    pub(super) fn has_next(&self) -> bool {
        self.has_signal()
            || self.has_size()
            || self.has_acknowledgement()
            || self.has_input()
            || self.has_end()
    }

    /// What is to be said next; it counts as said.
    pub(super) fn next(&mut self) -> Option<Message> {
        if self.has_signal() {
            return self.next_signal();
        }
        if self.has_size() {
            self.size_said = true;
            return self
                .size
                .map(|size| Message::Resize(super::wire_size(size)));
        }
        if self.has_acknowledgement() {
            self.acknowledged_said = self.acknowledged;
            return Some(Message::Acknowledge(self.acknowledged));
        }
        if self.has_input() {
            return self.next_input();
        }
        self.has_end().then(|| {
            self.closed_said = true;
            Message::CloseStdin(CloseStdin {})
        })
    }

    fn end(&self) -> u64 {
        let length: usize = self.input.iter().map(Bytes::len).sum();
        self.accepted + length as u64
    }

    fn has_signal(&self) -> bool {
        self.sent_signals < self.taken_signals + self.signals.len() as u64
    }

    const fn has_size(&self) -> bool {
        self.size.is_some() && !self.size_said
    }

    const fn has_acknowledgement(&self) -> bool {
        self.acknowledged_said < self.acknowledged
    }

    fn has_input(&self) -> bool {
        self.sent < self.end()
    }

    fn has_end(&self) -> bool {
        self.closed && !self.closed_said && self.sent == self.end()
    }

    fn next_signal(&mut self) -> Option<Message> {
        let place = usize::try_from(self.sent_signals - self.taken_signals).ok()?;
        let number = *self.signals.get(place)?;
        self.sent_signals += 1;
        Some(Message::Signal(number))
    }

    fn next_input(&mut self) -> Option<Message> {
        let mut start = usize::try_from(self.sent - self.accepted).ok()?;
        for piece in &self.input {
            if start < piece.len() {
                let length = (piece.len() - start).min(PIECE);
                let data = piece.slice(start..start + length);
                let offset = self.sent;
                self.sent += length as u64;
                return Some(Message::Stdin(Stdin { offset, data }));
            }
            start -= piece.len();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(stdin_offset: u64, signals: u64) -> Accepted {
        Accepted {
            stdin_offset,
            signals,
        }
    }

    fn stdin(offset: u64, data: &'static [u8]) -> Message {
        let data = Bytes::from_static(data);
        Message::Stdin(Stdin { offset, data })
    }

    fn take(outgoing: &mut Outgoing, text: &'static [u8]) {
        outgoing.take(ExecControl::Stdin(Bytes::from_static(text)));
    }

    #[test]
    fn what_was_not_taken_is_said_again_and_what_was_is_not() {
        let mut outgoing = Outgoing::new(accepted(10, 3), 0);
        take(&mut outgoing, b"abc");
        take(&mut outgoing, b"def");
        outgoing.take(ExecControl::Signal(2));
        outgoing.take(ExecControl::CloseStdin);
        take(&mut outgoing, b"never");
        assert_eq!(outgoing.next(), Some(Message::Signal(2)));
        assert_eq!(outgoing.next(), Some(stdin(10, b"abc")));
        assert_eq!(outgoing.next(), Some(stdin(13, b"def")));
        assert_eq!(outgoing.next(), Some(Message::CloseStdin(CloseStdin {})));
        assert_eq!(outgoing.next(), None);
        outgoing.resume(accepted(11, 4), 0);
        assert_eq!(outgoing.next(), Some(stdin(11, b"bc")));
        assert_eq!(outgoing.next(), Some(stdin(13, b"def")));
        assert_eq!(outgoing.next(), Some(Message::CloseStdin(CloseStdin {})));
        assert!(!outgoing.has_next());
    }

    #[test]
    fn output_is_acknowledged_once_on_each_connection() {
        let mut outgoing = Outgoing::new(accepted(0, 0), 5);
        assert!(!outgoing.has_next());
        outgoing.acknowledge(9);
        assert_eq!(outgoing.next(), Some(Message::Acknowledge(9)));
        assert!(!outgoing.has_next());
        // the output up to 12 came, and nobody was done with it yet
        outgoing.resume(accepted(0, 0), 12);
        assert!(!outgoing.has_next());
        outgoing.acknowledge(12);
        assert!(!outgoing.has_next());
        outgoing.acknowledge(13);
        assert_eq!(outgoing.next(), Some(Message::Acknowledge(13)));
    }

    #[test]
    fn no_more_is_taken_than_is_kept() {
        let mut outgoing = Outgoing::new(accepted(0, 0), 0);
        let piece = vec![0; PIECE];
        while !outgoing.is_full() {
            outgoing.take(ExecControl::Stdin(piece.clone().into()));
        }
        assert_eq!(outgoing.end(), INPUT);
        outgoing.accept(accepted(1, 0));
        assert!(!outgoing.is_full());
        for _ in 0..SIGNALS {
            outgoing.take(ExecControl::Signal(15));
        }
        assert!(outgoing.is_full());
        // another client sent more
        outgoing.accept(accepted(INPUT + 5, SIGNALS as u64));
        assert_eq!(outgoing.end(), INPUT + 5);
        assert!(outgoing.input.is_empty() && !outgoing.is_full());
    }
}
