//! HTTP over Firecracker's API socket.
//!
//! Invariants: a connection moves only while one of its requests is waited for,
//! so that giving up stops it; every answer is bounded; a fault keeps
//! Firecracker's words. Entry points: [`Client::send`], [`Client::wait_until_up`].

use std::{
    future::pending,
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    pin::{Pin, pin},
    time::Duration,
};

use camino::Utf8PathBuf;
use http::{Method, StatusCode, header};
use hyper::{
    body::{Body as _, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use rustix::fs::{Mode, OFlags, openat};
use tokio::{net::UnixStream, time::sleep};

use super::{
    super::{
        BackendError,
        error::{broken, within},
    },
    API_SOCKET,
    api::{Effort, Fault, Request, VersionAnswer},
};

/// Most bytes of an answer's body, and of its head.
const ANSWER_LIMIT: usize = 64 * 1024;
/// Most characters of a fault that are kept.
const FAULT_LIMIT: usize = 1024;
/// How long the API may take to be there.
const START_DEADLINE: Duration = Duration::from_secs(10);
/// How often is tried to connect until then: as often as there are timers.
const START_PERIOD: Duration = Duration::from_millis(1);
/// What is asked for before any request.
const CONNECTION: &str = "a connection";

/// The API of one Firecracker.
#[derive(Debug)]
pub(super) struct Client {
    socket: Socket,
}

/// Where the API's socket is.
#[derive(Debug)]
enum Socket {
    /// At a path.
    At(Utf8PathBuf),
    /// In a directory in which the VMM may put what it likes.
    Within(OwnedFd),
}

impl Socket {
    async fn connect(&self) -> io::Result<UnixStream> {
        let directory = match self {
            Self::At(path) => return UnixStream::connect(path).await,
            Self::Within(directory) => directory,
        };
        // a link would lead from here to a socket of this host
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let socket = openat(directory, API_SOCKET, flags, Mode::empty())?;
        UnixStream::connect(format!("/proc/self/fd/{}", socket.as_raw_fd())).await
    }
}

impl Client {
    pub(super) const fn new(socket: Utf8PathBuf) -> Self {
        Self {
            socket: Socket::At(socket),
        }
    }

    /// The one whose socket is in a directory of the VMM's.
    pub(super) const fn within(directory: OwnedFd) -> Self {
        Self {
            socket: Socket::Within(directory),
        }
    }

    /// Connects as soon as the process listens: it tells nobody.
    pub(super) async fn wait_until_up(&self) -> Result<Connection, BackendError> {
        let connecting = async {
            loop {
                match self.connect().await {
                    Err(error) if is_too_early(&error) => sleep(START_PERIOD).await,
                    connected => return connected.map_err(broken(CONNECTION)),
                }
            }
        };
        within(START_DEADLINE, CONNECTION, connecting).await
    }

    /// Sends one request, which must be answered by success.
    pub(super) async fn send<R: Request>(&self, request: &R) -> Result<(), BackendError> {
        let connecting = async { self.connect().await.map_err(broken(CONNECTION)) };
        let connected = within(deadline(Effort::Little), CONNECTION, connecting).await;
        connected?.send(request).await
    }

    async fn connect(&self) -> io::Result<Connection> {
        Connection::on(self.socket.connect().await?).await
    }
}

/// A connection for any number of requests, one after the other.
pub(super) struct Connection {
    requests: http1::SendRequest<String>,
    /// Moves the bytes, when it is polled; none when it is over.
    driver: Option<http1::Connection<TokioIo<UnixStream>, String>>,
}

impl Connection {
    async fn on(stream: UnixStream) -> io::Result<Self> {
        let (requests, driver) = http1::Builder::new()
            .max_buf_size(ANSWER_LIMIT)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        Ok(Self {
            requests,
            driver: Some(driver),
        })
    }

    /// Sends a request, which must be answered by success.
    pub(super) async fn send<R: Request>(&mut self, request: &R) -> Result<(), BackendError> {
        let path = request.path();
        let name = format!("{} {path}", R::METHOD);
        let body = serde_json::to_string(request)
            .map_err(io::Error::other)
            .map_err(broken(&name))?;
        let answered = self.exchange(&name, R::METHOD, &path, body);
        within(deadline(R::EFFORT), &name, answered).await.map(drop)
    }

    /// The version that the process says it has.
    pub(super) async fn version(&mut self) -> Result<String, BackendError> {
        let name = "GET /version";
        let answered = self.exchange(name, Method::GET, "/version", String::new());
        let body = within(deadline(Effort::Little), name, answered).await?;
        let answer: VersionAnswer = serde_json::from_slice(&body)
            .map_err(io::Error::other)
            .map_err(broken(name))?;
        Ok(answer.firecracker_version)
    }

    async fn exchange(
        &mut self,
        name: &str,
        method: Method,
        path: &str,
        body: String,
    ) -> Result<Vec<u8>, BackendError> {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .body(body)
            .map_err(io::Error::other)
            .map_err(broken(name))?;
        let (status, answer) = self.converse(request).await.map_err(broken(name))?;
        if status.is_success() {
            return Ok(answer);
        }
        Err(BackendError::Refused {
            request: name.to_owned(),
            fault: fault(status, &answer),
        })
    }

    async fn converse(
        &mut self,
        request: http::Request<String>,
    ) -> io::Result<(StatusCode, Vec<u8>)> {
        let Self { requests, driver } = self;
        let mut exchange = pin!(async {
            let answer = requests.send_request(request).await;
            let answer = answer.map_err(io::Error::other)?;
            let status = answer.status();
            Ok((status, read(answer.into_body()).await?))
        });
        tokio::select! {
            biased;
            answer = &mut exchange => answer,
            () = drive(driver) => exchange.await,
        }
    }
}

/// Moves the bytes of a connection until it is over. How it ends matters only to
/// its requests.
async fn drive(driver: &mut Option<http1::Connection<TokioIo<UnixStream>, String>>) {
    match driver {
        Some(connection) => {
            drop(connection.await);
            *driver = None;
        }
        None => pending().await,
    }
}

/// A body, within its limit.
async fn read(mut body: Incoming) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    while let Some(frame) =
        std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await
    {
        let Ok(data) = frame.map_err(io::Error::other)?.into_data() else {
            continue;
        };
        if ANSWER_LIMIT - content.len() < data.len() {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        content.extend_from_slice(&data);
    }
    Ok(content)
}

/// What Firecracker says is wrong, on one line.
fn fault(status: StatusCode, answer: &[u8]) -> String {
    let words = match serde_json::from_slice(answer) {
        Ok(Fault { fault_message }) => fault_message,
        Err(_) => format!("it answered {status}"),
    };
    let line = words.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(FAULT_LIMIT).collect()
}

/// Whether a socket is not there yet, or not listening yet.
fn is_too_early(error: &io::Error) -> bool {
    let kind = error.kind();
    kind == io::ErrorKind::NotFound || kind == io::ErrorKind::ConnectionRefused
}

const fn deadline(effort: Effort) -> Duration {
    match effort {
        Effort::Little => Duration::from_secs(5),
        Effort::Some => Duration::from_secs(30),
        Effort::Memory => Duration::from_mins(10),
    }
}

#[cfg(test)]
mod tests;
