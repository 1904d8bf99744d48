//! gRPC over one byte stream: an HTTP/2 connection without names or TLS.
//!
//! Purpose: what the monitor's link to the guest and a client's link to the
//! monitor have in common. Invariants: every task belongs to a tracker; one
//! stalled call holds up at most its own window.
//! Entry points: [`connect`], [`TrackedExecutor`].

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use http::{Request, Response, Uri};
use hyper::{
    body::Incoming,
    client::conn::http2::{Builder, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::body::Body;

/// What one call may have in flight towards us, in bytes.
pub(super) const STREAM_WINDOW: u32 = 256 * 1024;
/// What all calls of a connection may have in flight: [`MAX_STREAMS`] stalled
/// calls leave room for others.
pub(super) const CONNECTION_WINDOW: u32 = 2 * MAX_STREAMS * STREAM_WINDOW;
/// Calls at one time on one connection.
pub(super) const MAX_STREAMS: u32 = 128;

/// Spawns onto a tracker.
#[derive(Clone, Debug)]
pub(super) struct TrackedExecutor(pub(super) TaskTracker);

impl<F> hyper::rt::Executor<F> for TrackedExecutor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        drop(self.0.spawn(future));
    }
}

/// The calling end of a connection. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Http2Client {
    requests: SendRequest<Body>,
    ended: CancellationToken,
}

impl Http2Client {
    /// Waits for the end of the connection.
    pub(super) async fn ended(&self) {
        self.ended.cancelled().await;
    }
}

/// The origin of every request; nothing looks at it, but HTTP/2 wants one.
pub(super) fn origin() -> Uri {
    Uri::from_static("http://localhost")
}

/// Starts HTTP/2 by prior knowledge. The connection runs on `tracker` until
/// the last clone of the client and the last call are gone, or the stream ends.
pub(super) async fn connect<S>(stream: S, tracker: &TaskTracker) -> hyper::Result<Http2Client>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (requests, connection) = Builder::new(TrackedExecutor(tracker.clone()))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .handshake(TokioIo::new(stream))
        .await?;
    let ended = CancellationToken::new();
    let end = ended.clone().drop_guard();
    drop(tracker.spawn(async move {
        let _end = end;
        if let Err(error) = connection.await {
            tracing::debug!(%error, "an HTTP/2 connection broke");
        }
    }));
    Ok(Http2Client { requests, ended })
}

impl tower_service::Service<Request<Body>> for Http2Client {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.requests.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.requests.send_request(request))
    }
}
