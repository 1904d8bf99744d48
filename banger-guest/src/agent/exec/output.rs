//! What a process writes, on its way into its session's ring.
//!
//! Invariants: what was read is held until the ring takes it, so nothing is
//! lost by cancelling; a chunk has at most 64 KiB.
//!
//! After the process has ended its pipes may be held open by others that it
//! left behind. What it wrote itself was in the pipe when it ended and is always
//! carried; beyond that a stream ends with its last writer, after
//! [`QUIET`] without data, or [`LINGER`] after the end of the process.

use std::{sync::Arc, time::Duration};

use banger_proto::{MAX_EXEC_CHUNK, guest::v1::ExecStream};
use tokio::time::{Instant, timeout};

use super::{session::Session, stdio::Stdio};
use crate::descriptor::Descriptor;

/// How long an ended process's pipe may be silent.
const QUIET: Duration = Duration::from_secs(1);
/// How long after its end others' output is carried.
const LINGER: Duration = Duration::from_secs(10);

/// Both output streams of a process.
#[derive(Debug)]
pub(super) struct Output {
    output: Outlet,
    error: Outlet,
}

#[derive(Debug)]
struct Outlet {
    /// None after the end.
    source: Option<Arc<Descriptor>>,
    stream: ExecStream,
    buffer: Vec<u8>,
    /// What of the buffer was read and is not in the ring yet.
    held: usize,
}

impl Output {
    pub(super) fn new(stdio: &Stdio) -> Self {
        Self {
            output: Outlet::new(Some(Arc::clone(&stdio.output)), ExecStream::Stdout),
            error: Outlet::new(stdio.error.clone(), ExecStream::Stderr),
        }
    }

    /// Carries output until both streams end. May be dropped and called again.
    pub(super) async fn carry(&mut self, session: &Session) {
        tokio::join!(self.output.carry(session), self.error.carry(session));
    }

    /// Carries what is left after the process has ended.
    pub(super) async fn finish(&mut self, session: &Session) {
        let end = Instant::now() + LINGER;
        tokio::join!(
            self.output.finish(session, end),
            self.error.finish(session, end)
        );
    }
}

impl Outlet {
    fn new(source: Option<Arc<Descriptor>>, stream: ExecStream) -> Self {
        let size = if source.is_some() { MAX_EXEC_CHUNK } else { 0 };
        Self {
            source,
            stream,
            buffer: vec![0; size],
            held: 0,
        }
    }

    async fn carry(&mut self, session: &Session) {
        self.hand_over(session).await;
        while let Some(source) = self.source.clone() {
            let count = source.read(&mut self.buffer).await;
            self.hold(count.unwrap_or(0));
            self.hand_over(session).await;
        }
    }

    async fn finish(&mut self, session: &Session, end: Instant) {
        self.hand_over(session).await;
        let mut owed = self.source.as_ref().map_or(0, |source| source.waiting());
        while let Some(source) = self.source.clone() {
            if owed == 0 && end <= Instant::now() {
                return;
            }
            let Ok(count) = timeout(QUIET, source.read(&mut self.buffer)).await else {
                return;
            };
            // a terminal that nobody holds answers with an error
            let count = count.unwrap_or(0);
            owed = owed.saturating_sub(count);
            self.hold(count);
            self.hand_over(session).await;
        }
    }

    /// Nothing read is the end.
    fn hold(&mut self, count: usize) {
        self.held = count;
        if count == 0 {
            self.source = None;
        }
    }

    async fn hand_over(&mut self, session: &Session) {
        if let Some(chunk) = self.buffer.get(..self.held).filter(|held| !held.is_empty()) {
            session.keep(self.stream, chunk).await;
            self.held = 0;
        }
    }
}
