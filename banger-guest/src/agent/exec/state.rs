//! What is known of a session and changes. Pure.
//!
//! Invariants: at most one client is the session's, the last that joined; the
//! exit is set once and is what a client hears last.

use banger_proto::{
    MAX_EXEC_CHUNK,
    guest::v1::{
        ExecExit, ExecOutput, ExecStream, ExecTruncated, OnFull, attach_exec_response::Response,
    },
};
use tokio::time::Instant;

use super::ring::{Full, Piece, Ring};

/// Memory for a session's output.
const CAPACITY: usize = 1 << 20;

/// A session's output, clients and end.
#[derive(Debug)]
pub(super) struct State {
    ring: Ring,
    on_full: OnFull,
    client: Option<u64>,
    clients: u64,
    given_up: bool,
    exit: Option<(ExecExit, Instant)>,
    told: bool,
}

/// What a client is to be told next.
#[derive(Debug, PartialEq)]
pub(super) enum Told {
    /// This; then it is at this offset.
    More(Response, u64),
    /// The exit: the last.
    Exit(ExecExit),
    /// Another client is the session's now.
    SentAway,
}

impl State {
    pub(super) fn new(on_full: OnFull) -> Self {
        Self {
            ring: Ring::new(CAPACITY),
            on_full,
            client: None,
            clients: 0,
            given_up: false,
            exit: None,
            told: false,
        }
    }

    pub(super) const fn ring(&self) -> &Ring {
        &self.ring
    }

    /// The number of the client that is attached.
    pub(super) const fn client(&self) -> Option<u64> {
        self.client
    }

    /// How the process ended.
    pub(super) fn exit(&self) -> Option<ExecExit> {
        self.exit.map(|(exit, _)| exit)
    }

    /// When the process ended, unless somebody is being told of it.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let (_, at) = self.exit?;
        self.client.is_none().then_some(at)
    }

    /// Whether a client was sent everything.
    pub(super) const fn is_told(&self) -> bool {
        self.told
    }

    pub(super) const fn is_given_up(&self) -> bool {
        self.given_up
    }

    /// A client joins and wants the output from an offset on: its number. None
    /// when there is no such offset yet.
    pub(super) fn join(&mut self, offset: u64) -> Option<u64> {
        if self.ring.end() < offset {
            return None;
        }
        self.ring.acknowledge(offset);
        self.clients += 1;
        self.client = Some(self.clients);
        self.client
    }

    /// A client leaves; that of another one's number changes nothing.
    pub(super) fn leave(&mut self, client: u64) {
        if self.client == Some(client) {
            self.client = None;
        }
    }

    /// A client has everything below the offset.
    pub(super) fn acknowledge(&mut self, client: u64, offset: u64) {
        if self.client == Some(client) {
            self.ring.acknowledge(offset);
        }
    }

    /// Takes output if it has room for it.
    pub(super) fn push(&mut self, stream: ExecStream, chunk: &[u8]) -> bool {
        let nobody_waits = self.client.is_none() && self.on_full == OnFull::DropOldest;
        let full = if nobody_waits || self.given_up {
            Full::DropOldest
        } else {
            Full::Refuse
        };
        self.ring.push(stream, chunk, full)
    }

    /// Nobody wants it any more.
    pub(super) const fn give_up(&mut self) {
        self.given_up = true;
    }

    /// The process ended and its output is complete.
    pub(super) fn conclude(&mut self, exit: ExecExit) {
        self.exit = Some((exit, Instant::now()));
        self.ring.settle();
    }

    /// The client was sent everything, the exit last.
    pub(super) const fn tell(&mut self) {
        self.told = true;
    }

    /// What a client that has everything below an offset is told next.
    pub(super) fn next(&self, client: u64, offset: u64) -> Option<Told> {
        if self.client != Some(client) {
            return Some(Told::SentAway);
        }
        let first = self.ring.first();
        if offset < first {
            let (from, to) = (offset, first);
            let truncated = Response::Truncated(ExecTruncated { from, to });
            return Some(Told::More(truncated, first));
        }
        match self.ring.read(offset, MAX_EXEC_CHUNK) {
            Some(piece) => Some(told(piece)),
            None => self.exit().map(Told::Exit),
        }
    }

    /// Whether [`Self::next`] has something. Copies nothing.
    pub(super) fn has_news(&self, client: u64, offset: u64) -> bool {
        self.client != Some(client) || offset != self.ring.end() || self.exit.is_some()
    }
}

fn told(piece: Piece) -> Told {
    let Piece {
        stream,
        offset,
        bytes,
    } = piece;
    let end = offset + bytes.len() as u64;
    let output = ExecOutput {
        stream: stream.into(),
        offset,
        bytes,
    };
    Told::More(Response::Output(output), end)
}

#[cfg(test)]
mod tests {
    use banger_proto::guest::v1::exec_exit::Outcome;

    use super::*;

    fn exit() -> ExecExit {
        let outcome = Some(Outcome::Code(3));
        ExecExit { outcome }
    }

    fn fill(state: &mut State) -> u64 {
        let chunk = vec![1; MAX_EXEC_CHUNK];
        while state.ring.end() < 2 << 20 && state.push(ExecStream::Stdout, &chunk) {}
        state.ring.end()
    }

    #[test]
    fn the_last_client_is_the_sessions() {
        let mut state = State::new(OnFull::Wait);
        assert_eq!(state.join(1), None);
        let one = state.join(0).unwrap();
        assert_eq!(state.next(one, 0), None);
        let two = state.join(0).unwrap();
        assert_eq!(state.next(one, 0), Some(Told::SentAway));
        state.leave(one);
        assert_eq!(state.client(), Some(two));
        state.leave(two);
        assert_eq!(state.client(), None);
    }

    #[test]
    fn output_precedes_the_exit_and_is_waited_for() {
        let mut state = State::new(OnFull::Wait);
        let end = fill(&mut state);
        assert!(end <= CAPACITY as u64);
        let client = state.join(0).unwrap();
        state.conclude(exit());
        let mut offset = 0;
        while let Some(Told::More(_, next)) = state.next(client, offset) {
            offset = next;
        }
        assert_eq!(offset, end);
        assert_eq!(state.next(client, offset), Some(Told::Exit(exit())));
        assert_eq!(state.idle_since(), None);
        state.leave(client);
        assert!(state.idle_since().is_some());
    }

    #[test]
    fn a_session_that_may_drop_does_so_only_without_a_client() {
        let mut state = State::new(OnFull::DropOldest);
        assert_eq!(fill(&mut state), 2 << 20);
        let client = state.join(0).unwrap();
        let (from, to) = (0, state.ring.first());
        let gone = Response::Truncated(ExecTruncated { from, to });
        assert_eq!(state.next(client, 0), Some(Told::More(gone, to)));
        assert!(!state.push(ExecStream::Stderr, b"x"));
        state.give_up();
        assert!(state.push(ExecStream::Stderr, b"x"));
    }

    #[test]
    fn only_the_sessions_client_acknowledges() {
        let mut state = State::new(OnFull::Wait);
        let one = state.join(0).unwrap();
        let two = state.join(0).unwrap();
        let end = fill(&mut state);
        state.acknowledge(one, end);
        assert_eq!(fill(&mut state), end);
        state.acknowledge(two, end);
        assert!(end < fill(&mut state));
    }
}
