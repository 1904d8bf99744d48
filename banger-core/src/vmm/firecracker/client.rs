//! Firecracker's API socket.
//!
//! Invariants: nothing waits without a deadline; a socket that a VMM may have
//! put anything in place of is not followed through links. Entry points:
//! [`Client::send`], [`Client::wait_until_up`].

mod answer;
mod connection;

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    time::Duration,
};

use camino::Utf8PathBuf;
use rustix::fs::{Mode, OFlags, openat};
use tokio::{net::UnixStream, time::sleep};

use super::{
    super::{
        BackendError,
        error::{broken, within},
    },
    API_SOCKET,
    api::{Effort, Request},
};
#[cfg(feature = "fuzzing")]
pub(crate) use answer::Answer;
pub(super) use connection::{Connection, Message, version_in};

/// How long the API may take to be there.
const START_DEADLINE: Duration = Duration::from_secs(10);
/// How often is tried to connect until then: as often as there are timers. (To
/// be told by inotify(7) takes longer: the kernel ends a watch after some 10 ms.)
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
        let connecting = async { self.come_up().await.map_err(broken(CONNECTION)) };
        within(START_DEADLINE, CONNECTION, connecting).await
    }

    async fn come_up(&self) -> io::Result<Connection> {
        loop {
            match self.connect().await {
                Err(error) if is_too_early(&error) => sleep(START_PERIOD).await,
                connected => return connected,
            }
        }
    }

    /// Sends one request, which must be answered by success.
    pub(super) async fn send<R: Request>(&self, request: &R) -> Result<(), BackendError> {
        let message = Message::of(request)?;
        let connecting = async { self.connect().await.map_err(broken(CONNECTION)) };
        let connected = within(deadline(Effort::Little), CONNECTION, connecting).await;
        connected?.ask(&message).await.map(drop)
    }

    async fn connect(&self) -> io::Result<Connection> {
        self.socket.connect().await.map(Connection::on)
    }
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
