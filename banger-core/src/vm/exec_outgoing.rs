//! What a client has to say to its session, over any number of connections.
//! Pure.
//!
//! Invariants: input and signals are kept until the guest took them, and said
//! again on a new connection with the same offsets; no input is sent beyond
//! what the guest granted; what is kept is bounded by not taking more.

use std::collections::VecDeque;

use banger_proto::{
    MAX_EXEC_CHUNK,
    guest::v1::{
        CloseStdin, ExecAccepted, ExecAttached, ExecInput, ExecSignal, attach_exec_request::Request,
    },
};
use bytes::Bytes;

use super::{ExecControl, TerminalSize, exec_wire::wire_size};

/// Bytes of input that are kept before no more is taken.
const INPUT: u64 = 256 << 10;
/// Signals that are kept before no more is taken.
const SIGNALS: usize = 16;
/// Output that is acknowledged at once: a fraction of what the guest keeps.
const ACKNOWLEDGED: u64 = 128 << 10;

/// What is to be said.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// Input that the guest has not taken, from `accepted` on.
    input: VecDeque<Bytes>,
    accepted: u64,
    /// Where the next byte of input to be sent is.
    sent: u64,
    limit: u64,
    closed: Said,
    /// Signals that the guest has not taken, from `taken_signals` on.
    signals: VecDeque<u32>,
    taken_signals: u64,
    sent_signals: u64,
    size: Option<TerminalSize>,
    size_said: bool,
    acknowledged: u64,
    acknowledged_said: u64,
}

/// Something that is said once a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Said {
    #[default]
    No,
    ToBe,
    Yes,
}

impl Outgoing {
    /// For a session as its client found it, who has the output below an offset.
    pub(super) fn new(attached: &ExecAttached, offset: u64) -> Self {
        let accepted = attached.accepted.unwrap_or_default();
        Self {
            accepted: accepted.stdin_offset,
            sent: accepted.stdin_offset,
            limit: accepted.stdin_limit,
            closed: if attached.stdin_closed {
                Said::Yes
            } else {
                Said::No
            },
            taken_signals: accepted.signals,
            sent_signals: accepted.signals,
            acknowledged: offset,
            acknowledged_said: offset,
            ..Self::default()
        }
    }

    /// The same on a new connection, whose client has the output below an offset.
    pub(super) fn resume(&mut self, attached: &ExecAttached, offset: u64) {
        self.accept(attached.accepted.unwrap_or_default());
        self.sent = self.accepted;
        self.sent_signals = self.taken_signals;
        if self.closed == Said::Yes && !attached.stdin_closed {
            self.closed = Said::ToBe;
        }
        self.size_said = false;
        self.acknowledged_said = self.acknowledged_said.max(offset);
    }

    /// Whether no more is to be taken now.
    pub(super) fn is_full(&self) -> bool {
        INPUT <= self.end() - self.accepted || SIGNALS <= self.signals.len()
    }

    /// Takes an order of the caller.
    pub(super) fn take(&mut self, control: ExecControl) {
        match control {
            ExecControl::Stdin(bytes) if self.closed == Said::No => {
                if !bytes.is_empty() {
                    self.input.push_back(bytes);
                }
            }
            // input after its end is nobody's
            ExecControl::Stdin(_) => {}
            ExecControl::CloseStdin => {
                if self.closed == Said::No {
                    self.closed = Said::ToBe;
                }
            }
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

    /// The guest took input and signals.
    pub(super) fn accept(&mut self, accepted: ExecAccepted) {
        self.limit = self.limit.max(accepted.stdin_limit);
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
            || self.has_input()
            || self.has_end()
            || self.has_acknowledgement()
    }

    /// What is to be said next; it counts as said.
    pub(super) fn next(&mut self) -> Option<Request> {
        if self.has_signal() {
            return self.next_signal();
        }
        if self.has_size() {
            self.size_said = true;
            return self.size.map(|size| Request::Resize(wire_size(size)));
        }
        if self.has_acknowledgement() {
            self.acknowledged_said = self.acknowledged;
            return Some(Request::Acknowledged(self.acknowledged));
        }
        if self.has_input() {
            return self.next_input();
        }
        self.has_end().then(|| {
            self.closed = Said::Yes;
            Request::CloseStdin(CloseStdin {})
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

    fn has_input(&self) -> bool {
        self.sent < self.end().min(self.limit)
    }

    fn has_end(&self) -> bool {
        self.closed == Said::ToBe && self.sent == self.end()
    }

    const fn has_acknowledgement(&self) -> bool {
        self.acknowledged_said + ACKNOWLEDGED <= self.acknowledged
    }

    fn next_signal(&mut self) -> Option<Request> {
        let ordinal = self.sent_signals;
        let place = usize::try_from(ordinal - self.taken_signals).ok()?;
        let number = *self.signals.get(place)?;
        self.sent_signals += 1;
        Some(Request::Signal(ExecSignal { number, ordinal }))
    }

    fn next_input(&mut self) -> Option<Request> {
        let mut start = usize::try_from(self.sent - self.accepted).ok()?;
        let granted = usize::try_from(self.limit - self.sent).unwrap_or(usize::MAX);
        for piece in &self.input {
            if start < piece.len() {
                let length = (piece.len() - start).min(MAX_EXEC_CHUNK).min(granted);
                let bytes = piece.slice(start..start + length);
                let offset = self.sent;
                self.sent += length as u64;
                return Some(Request::Input(ExecInput { offset, bytes }));
            }
            start -= piece.len();
        }
        None
    }
}

#[cfg(test)]
mod tests;
