//! What a client has to say to its command, over any number of connections.
//! Pure.
//!
//! Invariants: input and signals are kept until the command took them, and said
//! again on a new connection with the same offsets; no input is sent beyond
//! what was granted; what is kept is bounded by not taking more.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::vm::{Accepted, ExecControl, TerminalSize};

/// Signals that are kept before no more is taken.
const SIGNALS: usize = 16;

/// What a protocol allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of input that are kept before no more is taken.
    pub input: u64,
    /// Most bytes of input in one message.
    pub piece: usize,
    /// Output that is acknowledged at once.
    pub acknowledged: u64,
}

/// What a command has taken, and may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// What it has taken.
    pub accepted: Accepted,
    /// No input is sent beyond this offset.
    pub stdin_limit: u64,
}

/// Something to be said to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Standard input.
    Stdin {
        /// Of its first byte.
        offset: u64,
        /// The bytes.
        bytes: Bytes,
    },
    /// The end of standard input.
    CloseStdin,
    /// A signal.
    Signal {
        /// By its Linux number.
        number: u32,
        /// Which one of all signals to this command it is.
        ordinal: u64,
    },
    /// The terminal has this size.
    Resize(TerminalSize),
    /// The output below this offset is done with.
    Acknowledged(u64),
}

/// What is to be said.
#[derive(Debug, Default)]
pub struct Outgoing {
    limits: Limits,
    /// Input that the command has not taken, from `accepted` on.
    input: VecDeque<Bytes>,
    accepted: u64,
    /// Where the next byte of input to be sent is.
    sent: u64,
    limit: u64,
    closed: Once,
    /// Signals that the command has not taken, from `taken_signals` on.
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
enum Once {
    #[default]
    No,
    ToBe,
    Yes,
}

impl Outgoing {
    /// For a command as its client found it, who has the output below an offset.
    #[must_use]
    pub fn new(limits: Limits, taken: Taken, stdin_closed: bool, offset: u64) -> Self {
        let accepted = taken.accepted;
        Self {
            limits,
            accepted: accepted.stdin_offset,
            sent: accepted.stdin_offset,
            limit: taken.stdin_limit,
            closed: if stdin_closed { Once::Yes } else { Once::No },
            taken_signals: accepted.signals,
            sent_signals: accepted.signals,
            acknowledged: offset,
            acknowledged_said: offset,
            ..Self::default()
        }
    }

    /// The same on a new connection, whose client has the output below an offset.
    pub fn resume(&mut self, taken: Taken, stdin_closed: bool, offset: u64) {
        self.accept(taken);
        self.sent = self.accepted;
        self.sent_signals = self.taken_signals;
        if self.closed == Once::Yes && !stdin_closed {
            self.closed = Once::ToBe;
        }
        self.size_said = false;
        // the connection began there
        self.acknowledged_said = offset;
    }

    /// Whether no more is to be taken now.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.limits.input <= self.end() - self.accepted || SIGNALS <= self.signals.len()
    }

    /// Takes an order of the caller.
    pub fn take(&mut self, control: ExecControl) {
        match control {
            ExecControl::Stdin(bytes) if self.closed == Once::No => {
                if !bytes.is_empty() {
                    self.input.push_back(bytes);
                }
            }
            // input after its end is nobody's
            ExecControl::Stdin(_) => {}
            ExecControl::CloseStdin => {
                if self.closed == Once::No {
                    self.closed = Once::ToBe;
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
    pub fn acknowledge(&mut self, offset: u64) {
        self.acknowledged = self.acknowledged.max(offset);
    }

    /// The command took input and signals.
    pub fn accept(&mut self, taken: Taken) {
        self.limit = self.limit.max(taken.stdin_limit);
        let accepted = taken.accepted;
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
    #[must_use]
    pub fn has_next(&self) -> bool {
        self.has_signal()
            || self.has_size()
            || self.has_input()
            || self.has_end()
            || self.has_acknowledgement()
    }

    /// What is to be said next; it counts as said.
    pub fn next_said(&mut self) -> Option<Said> {
        if self.has_signal() {
            return self.next_signal();
        }
        if self.has_size() {
            self.size_said = true;
            return self.size.map(Said::Resize);
        }
        if self.has_acknowledgement() {
            self.acknowledged_said = self.acknowledged;
            return Some(Said::Acknowledged(self.acknowledged));
        }
        if self.has_input() {
            return self.next_input();
        }
        self.has_end().then(|| {
            self.closed = Once::Yes;
            Said::CloseStdin
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
        self.closed == Once::ToBe && self.sent == self.end()
    }

    const fn has_acknowledgement(&self) -> bool {
        self.acknowledged_said + self.limits.acknowledged <= self.acknowledged
    }

    fn next_signal(&mut self) -> Option<Said> {
        let ordinal = self.sent_signals;
        let place = usize::try_from(ordinal - self.taken_signals).ok()?;
        let number = *self.signals.get(place)?;
        self.sent_signals += 1;
        Some(Said::Signal { number, ordinal })
    }

    fn next_input(&mut self) -> Option<Said> {
        let mut start = usize::try_from(self.sent - self.accepted).ok()?;
        let granted = usize::try_from(self.limit - self.sent).unwrap_or(usize::MAX);
        for piece in &self.input {
            if start < piece.len() {
                let length = (piece.len() - start).min(self.limits.piece).min(granted);
                let bytes = piece.slice(start..start + length);
                let offset = self.sent;
                self.sent += length as u64;
                return Some(Said::Stdin { offset, bytes });
            }
            start -= piece.len();
        }
        None
    }
}

#[cfg(test)]
mod tests;
