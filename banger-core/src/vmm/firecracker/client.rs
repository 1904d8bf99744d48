//! Firecracker's API socket.
//!
//! Invariants: nothing waits without a deadline; a socket that a VMM may have
//! put anything in place of is not followed through links. Entry points:
//! [`Client::send`], [`Client::wait_until_up`].

mod answer;
mod connection;
mod presence;

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
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
use presence::Presence;

/// How long the API may take to be there.
const START_DEADLINE: Duration = Duration::from_secs(10);
/// How often is tried to connect to a socket that is there and refuses: it is
/// about to listen.
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

    /// Tells when something new is where it is.
    fn presence(&self) -> io::Result<Presence> {
        match self {
            Self::At(path) => Presence::beside(path),
            Self::Within(directory) => Presence::within(directory.as_fd()),
        }
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
        let mut presence = self.socket.presence()?;
        loop {
            match self.connect().await {
                Err(error) if error.kind() == io::ErrorKind::NotFound => presence.changed().await?,
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    sleep(START_PERIOD).await;
                }
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

const fn deadline(effort: Effort) -> Duration {
    match effort {
        Effort::Little => Duration::from_secs(5),
        Effort::Some => Duration::from_secs(30),
        Effort::Memory => Duration::from_mins(10),
    }
}

#[cfg(test)]
mod tests;
