//! The byte streams between host and guest.
//!
//! Purpose: hide how a backend makes them. Invariants: streams come one after
//! the other, each new one meaning that the one before is of no use any more;
//! nothing is awaited by polling. Entry point: [`Channel::open`].

use std::io;

use camino::Utf8PathBuf;
use tokio::net::{UnixListener, UnixStream};

/// The host's side of a machine's channel.
#[derive(Debug)]
pub(crate) enum Channel {
    /// One stream, there from the first instruction on: a socket pair whose
    /// other end the VMM inherited. None when it was taken.
    Pair(Option<UnixStream>),
    /// The VMM listens; every connection is a new stream, and the guest is
    /// told when one ends.
    Connect(Utf8PathBuf),
    /// The guest connects, when it is ready and again when a connection ended.
    Accept(UnixListener),
}

impl Channel {
    /// The next stream; waits until there is one, which may be for ever. The
    /// guest may not have seen yet that the last one ended: who hears nothing on
    /// a new stream for a while drops it and opens another. May be cancelled.
    pub(crate) async fn open(&mut self) -> io::Result<UnixStream> {
        match self {
            Self::Pair(stream) => match stream.take() {
                Some(stream) => Ok(stream),
                None => std::future::pending().await,
            },
            Self::Connect(socket) => UnixStream::connect(socket).await,
            Self::Accept(listener) => Ok(listener.accept().await?.0),
        }
    }

    /// The next stream when the one before has `ended`, or when the guest has
    /// made another one; waits until there is one, which may be for ever. May
    /// be cancelled.
    pub(crate) async fn open_anew(
        &mut self,
        ended: impl Future<Output = ()>,
    ) -> io::Result<UnixStream> {
        if let Self::Connect(_) = self {
            ended.await;
        }
        self.open().await
    }

    /// Whether keeping the machine's state makes the guest open a new stream.
    pub(crate) const fn is_renewed_by_snapshots(&self) -> bool {
        matches!(self, Self::Accept(_))
    }
}
