//! Where Prometheus asks: plain HTTP, on the loopback interface alone.
//!
//! Invariants: nobody has to say who they are, so nobody from elsewhere can ask, and
//! nothing is told that belongs to anybody; a bound number of connections, each with a
//! deadline. Entry points: [`MetricsListener`].

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use banger_core::ErrorKind;
use http::{Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::Meter;

/// Most connections at a time.
const CONNECTIONS: usize = 16;
/// How long a connection may last.
const LASTING: Duration = Duration::from_secs(30);
/// What is waited for when the host cannot accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The server cannot be asked for what it counts.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetricsError {
    /// Others could ask, too.
    #[error("metrics are served on the loopback interface alone, and {address} is not there")]
    Exposed {
        /// Where.
        address: SocketAddr,
    },
    /// The host refused.
    #[error("failed to listen on {address} for metrics")]
    Io {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

impl MetricsError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Exposed { .. } => ErrorKind::InvalidInput,
            Self::Io { source, .. } => ErrorKind::of_io(source),
        }
    }
}

/// A listener for Prometheus.
#[derive(Debug)]
pub struct MetricsListener(TcpListener);

impl MetricsListener {
    /// Listens on an address of the loopback interface. Must be called in a runtime.
    pub async fn bind(address: SocketAddr) -> Result<Self, MetricsError> {
        if !address.ip().is_loopback() {
            return Err(MetricsError::Exposed { address });
        }
        let bound = TcpListener::bind(address).await;
        bound
            .map(Self)
            .map_err(|source| MetricsError::Io { address, source })
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Answers for as long as it is polled.
    pub async fn serve(self, meter: Meter) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.0.accept() => match accepted {
                    Ok((stream, _)) => {
                        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
                            let answering = answer_all(stream, meter.clone());
                            connections.spawn(async move {
                                answering.await;
                                drop(place);
                            });
                        }
                    }
                    Err(_) => sleep(ACCEPT_PAUSE).await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

async fn answer_all(stream: TcpStream, meter: Meter) {
    let service = service_fn(|request| answer(request, meter.clone()));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // whoever asks may go away at any time
    drop(timeout(LASTING, connection).await);
}

async fn answer(
    request: Request<Incoming>,
    meter: Meter,
) -> Result<Response<Full<bytes::Bytes>>, Infallible> {
    if request.method() != Method::GET || request.uri().path() != "/metrics" {
        let mut nothing = Response::new(Full::default());
        *nothing.status_mut() = StatusCode::NOT_FOUND;
        return Ok(nothing);
    }
    let mut answer = Response::new(Full::from(meter.text().await));
    let format = http::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, format);
    Ok(answer)
}
