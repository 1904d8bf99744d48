//! Access to one repository of a registry: client, sign-in and retries.
//!
//! Invariants: every wait has a deadline; what may pass is tried again, with
//! growing pauses; a refusal is believed only after a fresh token met it, too;
//! errors carry no credentials.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use futures_util::{FutureExt as _, future::BoxFuture};
use oci_client::{
    Client, Reference, RegistryOperation,
    client::{ClientConfig, ClientProtocol},
    errors::OciDistributionError,
    secrets::RegistryAuth,
};
use tokio::sync::OnceCell;

use super::{
    RegistryReference, SourceError, SourceOptions,
    registry_error::{Attempt, classify},
};
use crate::domain::Digest;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest silence of a registry.
const READ_TIMEOUT: Duration = Duration::from_mins(1);
/// Longest wait for a whole token, manifest or configuration.
const DOCUMENT_DEADLINE: Duration = Duration::from_mins(2);
/// Attempts after the first one.
const RETRIES: usize = 4;

/// A registry's repository, as seen with one set of credentials.
pub(super) struct Session {
    pub(super) client: Client,
    auth: RegistryAuth,
    image: RegistryReference,
    reference: String,
    retry: ExponentialBuilder,
    /// Whether signing in gave a token, once it was done.
    has_token: OnceCell<bool>,
}

impl Session {
    /// Reaches for nothing yet.
    pub(super) fn new(
        image: &RegistryReference,
        options: &SourceOptions,
    ) -> Result<Self, SourceError> {
        install_tls_provider();
        let credentials = options
            .credentials
            .iter()
            .find(|entry| entry.registry == image.registry());
        let auth = credentials.map_or(RegistryAuth::Anonymous, |entry| {
            RegistryAuth::Basic(entry.user.clone(), entry.secret.clone())
        });
        let reference = image.to_string();
        // `Client::new` would fall back to a client without timeouts
        let client = Client::try_from(client_config(image.registry(), options))
            .map_err(|error| classify(&reference, "", error).error)?;
        Ok(Self {
            client,
            auth,
            image: image.clone(),
            reference,
            retry: ExponentialBuilder::default()
                .with_min_delay(options.retry_pause)
                .with_max_times(RETRIES)
                .with_jitter(),
            has_token: OnceCell::new(),
        })
    }

    /// How the image is called in messages.
    pub(super) fn reference(&self) -> &str {
        &self.reference
    }

    /// The digest that the user asked for.
    pub(super) const fn asked_digest(&self) -> Option<&Digest> {
        self.image.digest()
    }

    pub(super) const fn auth(&self) -> &RegistryAuth {
        &self.auth
    }

    /// The client's form of the reference; by digest where one is known.
    pub(super) fn client_reference(&self, digest: Option<&Digest>) -> Reference {
        let registry = self.image.registry().to_owned();
        let repository = self.image.repository().to_owned();
        match (digest.or(self.image.digest()), self.image.tag()) {
            (Some(digest), _) => Reference::with_digest(registry, repository, digest.to_string()),
            (None, tag) => {
                Reference::with_tag(registry, repository, tag.unwrap_or("latest").to_owned())
            }
        }
    }

    /// The client's form of another tag of the same repository.
    pub(super) fn tagged(&self, tag: String) -> Reference {
        let registry = self.image.registry().to_owned();
        Reference::with_tag(registry, self.image.repository().to_owned(), tag)
    }

    /// Signs in, then tries until it works, cannot work, or was tried often
    /// enough. A token may end before the work does, so that a refusal leads
    /// to one more sign-in.
    pub(super) async fn call<'a, T>(
        &self,
        attempt: impl Fn() -> BoxFuture<'a, Result<T, Attempt>> + Send + Sync,
    ) -> Result<T, SourceError> {
        let has_token = self.has_token.get_or_try_init(|| self.sign_in()).await?;
        match self.retrying(&attempt).await {
            Err(SourceError::Unauthorised { .. }) if *has_token => {
                self.sign_in().await?;
                self.retrying(&attempt).await
            }
            done => done,
        }
    }

    async fn retrying<'a, T>(
        &self,
        attempt: &(impl Fn() -> BoxFuture<'a, Result<T, Attempt>> + Send + Sync),
    ) -> Result<T, SourceError> {
        let retried = attempt.retry(self.retry).when(Attempt::is_transient).await;
        retried.map_err(|attempt| attempt.error)
    }

    /// Gets a token where the registry wants one, before anything else, so
    /// that the registry's own reason for a refusal is what the user reads.
    async fn sign_in(&self) -> Result<bool, SourceError> {
        let image = self.client_reference(None);
        let token = self.retrying(&|| self.token(&image).boxed()).await?;
        Ok(token.is_some())
    }

    async fn token(&self, image: &Reference) -> Result<Option<String>, Attempt> {
        let asked = self.client.auth(image, &self.auth, RegistryOperation::Pull);
        let token = self.within_deadline(asked).await?;
        // the client would panic when it puts the token into a request
        match token {
            Some(token) if http::HeaderValue::try_from(format!("Bearer {token}")).is_err() => {
                Err(Attempt::permanent(SourceError::Malformed {
                    reference: self.reference.clone(),
                    problem: "the token that the registry gave out is not valid".to_owned(),
                }))
            }
            token => Ok(token),
        }
    }

    /// Waits for a small answer.
    pub(super) async fn within_deadline<T>(
        &self,
        answer: impl Future<Output = Result<T, OciDistributionError>>,
    ) -> Result<T, Attempt> {
        match tokio::time::timeout(DOCUMENT_DEADLINE, answer).await {
            Ok(answer) => answer.map_err(|error| self.failed(error)),
            Err(_) => Err(Attempt::transient(SourceError::Unavailable {
                reference: self.reference.clone(),
                reason: format!("no whole answer within {DOCUMENT_DEADLINE:?}"),
            })),
        }
    }

    /// Sorts a failure of the client.
    pub(super) fn failed(&self, error: OciDistributionError) -> Attempt {
        let refusal = match self.auth {
            RegistryAuth::Anonymous => {
                "the registry refuses anonymous access, or the repository does not exist"
            }
            _ => "the registry refuses the credentials given",
        };
        classify(&self.reference, refusal, error)
    }
}

fn client_config(registry: &str, options: &SourceOptions) -> ClientConfig {
    let plain = is_loopback(registry) || options.plain_http.iter().any(|host| host == registry);
    ClientConfig {
        protocol: if plain {
            ClientProtocol::Http
        } else {
            ClientProtocol::Https
        },
        connect_timeout: Some(CONNECT_TIMEOUT),
        read_timeout: Some(READ_TIMEOUT),
        user_agent: concat!("banger/", env!("CARGO_PKG_VERSION")),
        ..ClientConfig::default()
    }
}

/// Whether the host part of `host[:port]` is this machine itself.
fn is_loopback(registry: &str) -> bool {
    if let Ok(address) = registry.parse::<std::net::SocketAddr>() {
        return address.ip().is_loopback();
    }
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    let address = registry
        .parse::<std::net::IpAddr>()
        .or_else(|_| host.parse());
    host == "localhost" || registry == "[::1]" || address.is_ok_and(|address| address.is_loopback())
}

/// The HTTP client panics without a TLS provider, even for plain HTTP.
pub(crate) fn install_tls_provider() {
    #[cfg(feature = "tls-ring")]
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // another thread may have been faster, which is as good
        drop(rustls::crypto::ring::default_provider().install_default());
    }
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn only_this_machine_is_loopback() {
        for registry in [
            "localhost",
            "localhost:5000",
            "127.0.0.1",
            "127.1.2.3:80",
            "[::1]:5000",
            "[::1]",
        ] {
            assert!(is_loopback(registry), "{registry}");
        }
        for registry in [
            "docker.io",
            "10.0.0.1:5000",
            "localhost.example",
            "[fe80::1]:5000",
        ] {
            assert!(!is_loopback(registry), "{registry}");
        }
    }
}
