//! What a process writes, on its way to the client.
//!
//! Invariants: a place in the response queue is reserved before anything is
//! read, so nothing that was read can be lost; a chunk has at most 64 KiB.
//!
//! After the process has ended its pipes may be held open by others that it
//! left behind. What it wrote itself was in the pipe when it ended and is always
//! carried; beyond that a stream ends with its last writer, after
//! [`QUIET`] without data, or [`LINGER`] after the end of the process.

use std::{sync::Arc, time::Duration};

use banger_proto::{
    MAX_EXEC_CHUNK,
    guest::v1::{ExecResponse, exec_response::Response},
};
use bytes::Bytes;
use tokio::{
    sync::mpsc::{Permit, Sender},
    time::{Instant, timeout},
};
use tonic::Status;

use super::stdio::Stdio;
use crate::descriptor::Descriptor;

/// How long an ended process's pipe may be silent.
const QUIET: Duration = Duration::from_secs(1);
/// How long after its end others' output is carried.
const LINGER: Duration = Duration::from_secs(10);

/// Where responses go.
pub(super) type Responses = Sender<Result<ExecResponse, Status>>;

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
    buffer: Vec<u8>,
    label: fn(Bytes) -> Response,
}

impl Output {
    pub(super) fn new(stdio: &Stdio) -> Self {
        Self {
            output: Outlet::new(Some(Arc::clone(&stdio.output)), Response::Stdout),
            error: Outlet::new(stdio.error.clone(), Response::Stderr),
        }
    }

    /// Carries output until both streams end. May be dropped and called again.
    pub(super) async fn carry(&mut self, responses: &Responses) {
        tokio::join!(self.output.carry(responses), self.error.carry(responses));
    }

    /// Carries what is left after the process has ended.
    pub(super) async fn finish(&mut self, responses: &Responses) {
        let end = Instant::now() + LINGER;
        tokio::join!(
            self.output.finish(responses, end),
            self.error.finish(responses, end)
        );
    }
}

impl Outlet {
    fn new(source: Option<Arc<Descriptor>>, label: fn(Bytes) -> Response) -> Self {
        let size = if source.is_some() { MAX_EXEC_CHUNK } else { 0 };
        Self {
            source,
            buffer: vec![0; size],
            label,
        }
    }

    async fn carry(&mut self, responses: &Responses) {
        while let Some(source) = self.source.clone() {
            let permit = reserve(responses).await;
            let count = source.read(&mut self.buffer).await;
            self.deliver(count.unwrap_or(0), permit);
        }
    }

    async fn finish(&mut self, responses: &Responses, end: Instant) {
        let mut owed = self.source.as_ref().map_or(0, |source| source.waiting());
        while let Some(source) = self.source.clone() {
            if owed == 0 && end <= Instant::now() {
                return;
            }
            let permit = reserve(responses).await;
            let Ok(count) = timeout(QUIET, source.read(&mut self.buffer)).await else {
                return;
            };
            // a terminal that nobody holds answers with an error
            let count = count.unwrap_or(0);
            owed = owed.saturating_sub(count);
            self.deliver(count, permit);
        }
    }

    fn deliver(&mut self, count: usize, permit: Permit<'_, Result<ExecResponse, Status>>) {
        match self.buffer.get(..count) {
            Some(chunk) if !chunk.is_empty() => {
                let response = Some((self.label)(Bytes::copy_from_slice(chunk)));
                permit.send(Ok(ExecResponse { response }));
            }
            _ => self.source = None,
        }
    }
}

/// A place for one response. With the client gone there is none ever: the
/// session sees that by itself and drops this.
async fn reserve(responses: &Responses) -> Permit<'_, Result<ExecResponse, Status>> {
    match responses.reserve().await {
        Ok(permit) => permit,
        Err(_) => std::future::pending().await,
    }
}
