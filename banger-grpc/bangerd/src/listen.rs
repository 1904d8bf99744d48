//! Where the service listens, and whom it lets in.
//!
//! Invariants: nothing is made before everything that was asked for can be; SIGHUP,
//! or another file in a file's place, has certificates and credentials read again.
//! Entry points: [`ListenArguments`], [`refresh`].

use std::{io, net::SocketAddr, sync::Arc};

use banger_grpc::{
    caller::Scope,
    transport::{
        Listeners,
        security::{Security, SecurityFiles},
        tcp::{ListenError, TlsListener},
    },
};
use camino::Utf8PathBuf;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

/// How clients from elsewhere come in.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Clients from elsewhere")]
pub(crate) struct ListenArguments {
    /// Listen on this TCP address, too, over TLS alone: a certificate is needed, and
    /// tokens or authorities of clients' certificates (may be repeated)
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Vec<SocketAddr>,
    /// Show this certificate, with those between it and its authority, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<Utf8PathBuf>,
    /// The certificate's key, in PEM, in a file that is the server's alone (mode 0600)
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<Utf8PathBuf>,
    /// Let in whoever has a certificate of one of these authorities, in PEM
    #[arg(long, value_name = "FILE")]
    tls_client_authorities: Option<Utf8PathBuf>,
    /// What clients' certificates may that the file of tokens does not name [default:
    /// images,vms:own]
    #[arg(long, value_name = "SCOPES", value_delimiter = ',')]
    tls_client_scopes: Option<Vec<Scope>>,
    /// Let in whom this file lists, by tokens and names of certificates; it is the
    /// server's alone (mode 0600)
    #[arg(long, value_name = "FILE")]
    tokens: Option<Utf8PathBuf>,
}

impl ListenArguments {
    /// The files that say who is let in.
    pub(crate) fn files(&self) -> SecurityFiles {
        let scopes = self.tls_client_scopes.clone();
        let scopes = scopes.unwrap_or_else(|| vec![Scope::Images, Scope::OwnVms]);
        SecurityFiles {
            certificate: self.tls_certificate.clone(),
            key: self.tls_key.clone(),
            client_authorities: self.tls_client_authorities.clone(),
            certificate_scopes: scopes.into_iter().collect(),
            tokens: self.tokens.clone(),
        }
    }

    /// Listens on the addresses, beside what listens already.
    pub(crate) async fn add_to(
        &self,
        listeners: &mut Listeners,
        security: &Arc<Security>,
    ) -> Result<(), ListenError> {
        for address in &self.listen {
            let listener = TlsListener::bind(*address, Arc::clone(security)).await?;
            if let Ok(address) = listener.address() {
                tracing::info!(%address, "listening over TLS");
            }
            listeners.tls.push(listener);
        }
        Ok(())
    }
}

/// Has certificates and credentials read again when they change or a SIGHUP comes, for
/// as long as it is polled.
pub(crate) fn refresh(security: Arc<Security>) -> io::Result<impl Future<Output = ()> + Send> {
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        let asked = async {
            while hangup.recv().await.is_some() {
                security.reload();
                tracing::info!("certificates and credentials were read again");
            }
        };
        tokio::join!(asked, security.keep_fresh());
    })
}
