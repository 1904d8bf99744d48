//! Servers elsewhere: TLS, and who we are to them.
//!
//! Invariants: nothing goes over TCP without TLS, and a token to no server whose
//! certificate was not checked; what is secret is in no debug output.
//! Entry points: [`Remote`], [`Transport`].

use std::{fmt, time::Duration};

use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use crate::Failure;

/// How often a connection is asked whether it is still there, and how long that may
/// take.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(20));
/// How long it may take to connect.
const CONNECTING: Duration = Duration::from_secs(10);

/// What calls go over.
pub type Transport = InterceptedService<Channel, Token>;

/// A server elsewhere, and what it knows us by.
#[derive(Clone, Default)]
pub struct Remote {
    /// Where: `https://HOST:PORT`.
    pub uri: String,
    /// The name in the server's certificate, where it is not the host's in `uri`.
    pub server_name: Option<String>,
    /// Authorities that the server's certificate may come from, in PEM; the system's
    /// without.
    pub authorities: Option<Vec<u8>>,
    /// Our certificate and its key, in PEM.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    /// Our token.
    pub token: Option<String>,
}

impl fmt::Debug for Remote {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all = to.debug_struct("Remote");
        all.field("uri", &self.uri).finish_non_exhaustive()
    }
}

impl Remote {
    pub(crate) fn endpoint(&self) -> Result<Endpoint, Failure> {
        let wrong = |problem: &dyn fmt::Display| Failure::no_endpoint(&self.uri, problem);
        if !self.uri.starts_with("https://") {
            return Err(wrong(&"servers elsewhere are spoken to over https alone"));
        }
        let mut tls = match &self.authorities {
            Some(authorities) => {
                ClientTlsConfig::new().ca_certificates([Certificate::from_pem(authorities)])
            }
            None => ClientTlsConfig::new().with_native_roots(),
        };
        if let Some(name) = &self.server_name {
            tls = tls.domain_name(name);
        }
        if let Some((certificate, key)) = &self.identity {
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        let endpoint = Endpoint::try_from(self.uri.clone()).map_err(|error| wrong(&error))?;
        endpoint.tls_config(tls).map_err(|error| wrong(&error))
    }
}

/// The same of every endpoint: one that goes away silently is noticed.
pub(crate) fn watched(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(CONNECTING)
        .http2_keep_alive_interval(KEEPALIVE.0)
        .keep_alive_timeout(KEEPALIVE.1)
        .keep_alive_while_idle(true)
}

/// Adds our token to calls, if we have one.
#[derive(Clone, Debug, Default)]
pub struct Token(Option<MetadataValue<Ascii>>);

impl Token {
    pub(crate) fn new(token: Option<&str>) -> Result<Self, Failure> {
        let Some(token) = token else {
            return Ok(Self::default());
        };
        let header: Result<MetadataValue<Ascii>, _> = format!("Bearer {token}").parse();
        let mut header = header.map_err(|_| Failure::no_token())?;
        header.set_sensitive(true);
        Ok(Self(Some(header)))
    }
}

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(header) = &self.0 {
            request
                .metadata_mut()
                .insert("authorization", header.clone());
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_goes_without_tls_and_no_secret_is_shown() {
        let mut remote = Remote {
            uri: "http://127.0.0.1:1".to_owned(),
            token: Some("secret".to_owned()),
            ..Remote::default()
        };
        let refused = remote.endpoint().unwrap_err();
        assert!(refused.to_string().contains("https alone"), "{refused}");
        remote.uri = "https://127.0.0.1:1".to_owned();
        let shown = format!("{remote:?} {:?}", Token::new(Some("secret")).unwrap());
        assert!(!shown.contains("secret"), "{shown}");
        assert!(Token::new(Some("two\nlines")).is_err());
    }
}
