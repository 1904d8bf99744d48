//! How bytes of clients come in: the server's own socket, and TLS over TCP.
//!
//! Invariants: there is no TCP without TLS, and no TLS without a way to tell who
//! calls; each listener has a bound of its own on its connections, so that neither
//! keeps the other from answering. Entry points: [`Listeners`].

pub(crate) mod connection;
pub mod security;
pub mod tcp;

use std::{io, pin::Pin};

use futures_util::{Stream, StreamExt as _, stream};

use crate::socket::ServerSocket;

use connection::Connection;
use tcp::TlsListener;

/// Connections, as they come.
pub(crate) type Incoming<'a> = Pin<Box<dyn Stream<Item = io::Result<Connection>> + Send + 'a>>;

/// Where a server listens.
#[derive(Debug, Default)]
pub struct Listeners {
    /// The server's own socket.
    pub socket: Option<ServerSocket>,
    /// For clients from elsewhere.
    pub tls: Vec<TlsListener>,
}

impl From<ServerSocket> for Listeners {
    fn from(socket: ServerSocket) -> Self {
        Self {
            socket: Some(socket),
            tls: Vec::new(),
        }
    }
}

impl Listeners {
    /// What comes in anywhere, with at most so many connections for each listener.
    pub(crate) fn connections(&self, most: u32) -> Incoming<'_> {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let local = self.socket.iter().map(|one| one.connections(most).boxed());
        let remote = self.tls.iter().map(|one| one.connections(most).boxed());
        Box::pin(stream::select_all(local.chain(remote)))
    }
}
