//! TLS over TCP.
//!
//! Invariants: nothing but a handshake is read before one is done; handshakes have a
//! deadline and a bound, and none keeps others waiting; each one uses the
//! certificates of its moment. Entry points: [`TlsListener`].

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use banger_core::ErrorKind;
use futures_util::{Stream, stream};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use webpki::EndEntityCert;

use super::{
    connection::{Connection, Place, Places},
    security::{Security, SecurityError},
};
use crate::access::credentials::is_name;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// What is waited for when the host cannot accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The server could not listen for clients from elsewhere.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Certificates or credentials.
    #[error("failed to listen on {address}")]
    Security {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: SecurityError,
    },
    /// The host refused.
    #[error("failed to listen on {address}")]
    Io {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

impl ListenError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Security { source, .. } => source.kind(),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                ErrorKind::Conflict
            }
            Self::Io { source, .. } => ErrorKind::of_io(source),
        }
    }
}

/// A listener for TCP that speaks TLS.
#[derive(Debug)]
pub struct TlsListener {
    listener: TcpListener,
    security: Arc<Security>,
}

impl TlsListener {
    /// Listens on an address, if there are certificates and callers could be told
    /// apart. Must be called in a runtime.
    pub async fn bind(address: SocketAddr, security: Arc<Security>) -> Result<Self, ListenError> {
        let refused = |source| ListenError::Security { address, source };
        security.tls().map_err(refused)?;
        let bound = TcpListener::bind(address).await;
        let listener = bound.map_err(|source| ListenError::Io { address, source })?;
        Ok(Self { listener, security })
    }

    /// The same over a socket that listens already.
    pub fn inherit(
        listener: std::net::TcpListener,
        security: Arc<Security>,
    ) -> Result<Self, ListenError> {
        let address = listener.local_addr();
        let address = address.unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)));
        let refused = |source| ListenError::Security { address, source };
        security.tls().map_err(refused)?;
        let inherited = listener
            .set_nonblocking(true)
            .and_then(|()| TcpListener::from_std(listener));
        let listener = inherited.map_err(|source| ListenError::Io { address, source })?;
        Ok(Self { listener, security })
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The connections whose handshakes are done, as they are.
    pub(crate) fn connections(
        &self,
        most: usize,
    ) -> impl Stream<Item = io::Result<Connection>> + Send {
        let handshakes = Handshakes {
            listener: self,
            places: Places::new(most),
            going_on: JoinSet::new(),
        };
        stream::unfold(handshakes, async |mut handshakes| {
            let connection = handshakes.next().await;
            Some((Ok(connection), handshakes))
        })
    }
}

/// Connections between the network and the server. Dropping it drops them.
struct Handshakes<'a> {
    listener: &'a TlsListener,
    places: Places,
    going_on: JoinSet<Option<Connection>>,
}

impl Handshakes<'_> {
    /// The next connection. Cancelling loses nothing that is not about to begin.
    async fn next(&mut self) -> Connection {
        loop {
            tokio::select! {
                accepted = self.listener.listener.accept() => match accepted {
                    Ok((stream, _)) => self.begin(stream),
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(done) = self.going_on.join_next() => {
                    if let Ok(Some(connection)) = done {
                        return connection;
                    }
                }
            }
        }
    }

    fn begin(&mut self, stream: TcpStream) {
        let Some(place) = self.places.take() else {
            tracing::warn!("a connection was refused: there are too many");
            return;
        };
        // bound only with certificates: what is broken never replaces them
        if let Ok(config) = self.listener.security.tls() {
            let acceptor = TlsAcceptor::from(config);
            self.going_on.spawn(shake_hands(acceptor, stream, place));
        }
    }
}

async fn shake_hands(acceptor: TlsAcceptor, stream: TcpStream, place: Place) -> Option<Connection> {
    // small messages go at once; where that cannot be set, they go later
    drop(stream.set_nodelay(true));
    match timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            let certificate = name(&stream);
            Some(Connection::remote(stream, certificate, place))
        }
        Ok(Err(error)) => {
            tracing::debug!(%error, "a handshake failed");
            None
        }
        Err(_) => {
            tracing::debug!("a handshake took too long");
            None
        }
    }
}

/// What the client's certificate names: the first DNS name of its subject's
/// alternative names, or else the first URI. Its authority was checked before.
fn name(stream: &TlsStream<TcpStream>) -> Option<Arc<str>> {
    let (_, session) = stream.get_ref();
    let certificate = session.peer_certificates()?.first()?;
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    let mut names = certificate
        .valid_dns_names()
        .chain(certificate.valid_uri_names());
    names.next().filter(|name| is_name(name)).map(Arc::from)
}
