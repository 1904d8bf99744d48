//! One repository at one registry or mirror.
//!
//! Invariants: an answer is compared with its limit as it comes; a refusal is
//! believed only after fresh credentials met it, too; a challenge is believed
//! only from the registry's own host.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use oci_client::Reference;
use reqwest::{Response, Url};

use super::{
    super::{
        RegistryOptions, SourceError,
        document::{ACCEPTED_MEDIA_TYPES, Blob, MAX_MANIFEST},
    },
    authenticator::Authenticator,
    blob::{BlobAnswer, BlobPlace, range_from},
    body,
    challenge::challenge,
    failure::Attempt,
    peer::{is_loopback, same_origin},
    transport::{Question, Transport},
};
use crate::domain::Digest;

/// Longest wait for a whole token, manifest or configuration.
const DOCUMENT_DEADLINE: Duration = Duration::from_mins(2);

/// A repository, with who we are there.
pub(in crate::oci) struct Endpoint {
    transport: Arc<Transport>,
    authenticator: Authenticator,
    /// `…/v2/REPOSITORY/`.
    base: Url,
    host: String,
}

impl Endpoint {
    /// `host` is `host[:port]` as references name it. Reaches for nothing yet.
    pub(super) fn new(
        transport: Arc<Transport>,
        host: &str,
        repository: &str,
    ) -> Result<Self, SourceError> {
        let scheme = if is_plain(host, transport.options()) {
            "http"
        } else {
            "https"
        };
        // Docker Hub's registry has another name than its images
        let named = Reference::with_tag(host.to_owned(), repository.to_owned(), String::new());
        let root = format!("{scheme}://{}/v2/", named.resolve_registry());
        let root = root.parse::<Url>();
        let base = root
            .clone()
            .and_then(|root| root.join(&format!("{repository}/")));
        let (Ok(root), Ok(base)) = (root, base) else {
            return Err(SourceError::Unavailable {
                reference: transport.reference().to_owned(),
                reason: format!("{host} is not a host"),
            });
        };
        let (registry, repository) = (host.to_owned(), repository.to_owned());
        Ok(Self {
            authenticator: Authenticator::new(Arc::clone(&transport), root, registry, repository),
            transport,
            base,
            host: host.to_owned(),
        })
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// The manifest or index of that tag or digest, as it was sent.
    pub(in crate::oci) async fn manifest(&self, name: &str) -> Result<Vec<u8>, Attempt> {
        let accepted = ACCEPTED_MEDIA_TYPES.join(", ");
        let accepted = HeaderValue::try_from(accepted).map(|value| (header::ACCEPT, value));
        let headers = accepted.into_iter().collect();
        let read = self.read(format!("manifests/{name}"), headers, MAX_MANIFEST);
        let body = within_deadline(self.transport.reference(), read).await?;
        body.ok_or_else(|| {
            Attempt::permanent(SourceError::Limit {
                reference: self.transport.reference().to_owned(),
                problem: format!("its manifest has more than {MAX_MANIFEST} bytes"),
            })
        })
    }

    /// A small blob, whose claimed size has been checked; none when it is longer.
    pub(in crate::oci) async fn small_blob(&self, blob: &Blob) -> Result<Option<Vec<u8>>, Attempt> {
        let path = format!("blobs/{}", blob.digest);
        let read = self.read(path, HeaderMap::new(), blob.size.get());
        within_deadline(self.transport.reference(), read).await
    }

    /// The length of a blob, if the registry tells it.
    pub(in crate::oci) async fn blob_length(
        &self,
        digest: &Digest,
    ) -> Result<Option<u64>, Attempt> {
        let response = self
            .send(&format!("blobs/{digest}"), HeaderMap::new())
            .await?;
        match response.status() {
            StatusCode::OK => Ok(response.content_length()),
            _ => Err(self.failed(response).await),
        }
    }

    async fn read(
        &self,
        path: String,
        headers: HeaderMap,
        limit: u64,
    ) -> Result<Option<Vec<u8>>, Attempt> {
        let response = self.send(&path, headers).await?;
        if response.status() != StatusCode::OK {
            return Err(self.failed(response).await);
        }
        let body = body::whole(response, limit).await;
        body.map_err(|error| Attempt::of_connection(self.transport.reference(), error))
    }

    /// Asks, and once more with fresh credentials when those used are refused.
    async fn send(&self, path: &str, headers: HeaderMap) -> Result<Response, Attempt> {
        let url = self.base.join(path).map_err(|_| {
            Attempt::malformed(self.transport.reference(), "its name fits into no URL")
        })?;
        let used = self.authenticator.authorization().await?;
        let question = Question {
            headers,
            authorization: used.clone(),
            ..Question::get(url)
        };
        let response = self.transport.ask(question.clone()).await?;
        let is_own = same_origin(response.url(), &self.base);
        if response.status() != StatusCode::UNAUTHORIZED || !is_own {
            return Ok(response);
        }
        let asked = challenge(response.headers());
        let renewed = self.authenticator.renewed(used.as_ref(), asked).await?;
        if renewed == used {
            return Ok(response);
        }
        let question = Question {
            authorization: renewed,
            ..question
        };
        self.transport.ask(question).await
    }

    /// What an answer means that is no success.
    async fn failed(&self, response: Response) -> Attempt {
        let status = response.status();
        let reference = self.transport.reference();
        if !same_origin(response.url(), &self.base) && status.is_client_error() {
            // where a redirect led: it may have come too late, the next may not
            let reason = format!("the registry redirects to where the answer is status {status}");
            let reference = reference.to_owned();
            return Attempt::transient(SourceError::Unavailable { reference, reason });
        }
        let attempt = Attempt::of_answer(reference, response).await;
        match &attempt.error {
            SourceError::Unauthorised { reason, .. } => {
                let refusal = self.authenticator.refusal().await;
                Attempt::unauthorised(reference, format!("{refusal}: {reason}"))
            }
            _ => attempt,
        }
    }
}

#[async_trait]
impl BlobPlace for Endpoint {
    async fn blob(&self, digest: &Digest, start: u64) -> Result<BlobAnswer, Attempt> {
        let path = format!("blobs/{digest}");
        let response = self.send(&path, range_from(start)).await?;
        match BlobAnswer::of(self.transport.reference(), response, start) {
            Ok(answer) => Ok(answer),
            Err(response) => Err(self.failed(response).await),
        }
    }
}

/// Whether a host is spoken to without TLS.
fn is_plain(host: &str, options: &RegistryOptions) -> bool {
    let special = options.hosts.get(host);
    let has_authority = special.is_some_and(|special| special.ca_file.is_some());
    options.plain_http.iter().any(|plain| plain == host) || (is_loopback(host) && !has_authority)
}

/// Waits for a small answer.
pub(super) async fn within_deadline<T>(
    reference: &str,
    answer: impl Future<Output = Result<T, Attempt>>,
) -> Result<T, Attempt> {
    match tokio::time::timeout(DOCUMENT_DEADLINE, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(Attempt::transient(SourceError::Unavailable {
            reference: reference.to_owned(),
            reason: format!("no whole answer within {DOCUMENT_DEADLINE:?}"),
        })),
    }
}
