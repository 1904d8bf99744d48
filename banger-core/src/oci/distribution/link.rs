//! A file that a URL names: the registry client's way there, without its
//! credentials.
//!
//! Invariants: those of the transport; documents are bounded as they come.

use async_trait::async_trait;
use http::{HeaderMap, StatusCode};
use reqwest::{Response, Url};

use super::{
    super::{RegistryOptions, SourceError},
    blob::{BlobAnswer, BlobPlace, range_from},
    body,
    endpoint::within_deadline,
    failure::Attempt,
    patience::ORIGIN,
    transport::{Question, Transport},
};
use crate::domain::Digest;

/// A file of a server.
pub(in crate::oci) struct Link {
    transport: Transport,
    url: Url,
}

impl Link {
    /// Reaches for nothing yet.
    pub(in crate::oci) fn new(url: &str, options: &RegistryOptions) -> Result<Self, SourceError> {
        let parsed = url.parse().map_err(|_| SourceError::Malformed {
            reference: url.to_owned(),
            problem: "it is not a URL".to_owned(),
        })?;
        Ok(Self {
            transport: Transport::new(options.clone(), url.to_owned()),
            url: parsed,
        })
    }

    /// How it is called in messages.
    pub(in crate::oci) fn reference(&self) -> &str {
        self.transport.reference()
    }

    /// Tries until it works, cannot work, or was tried often enough.
    pub(in crate::oci) async fn call<T, F>(
        &self,
        attempt: impl FnMut() -> F,
    ) -> Result<T, SourceError>
    where
        F: Future<Output = Result<T, Attempt>>,
    {
        let pause = self.transport.options().retry_pause;
        ORIGIN.retry(pause, attempt).await
    }

    /// The whole of it; none when it has more than `limit` bytes.
    pub(in crate::oci) async fn document(
        &self,
        limit: u64,
    ) -> Result<Option<Vec<u8>>, SourceError> {
        let read = || within_deadline(self.reference(), self.read(limit));
        self.call(read).await
    }

    /// Its length, if the server tells it.
    pub(in crate::oci) async fn length(&self) -> Result<Option<u64>, SourceError> {
        let answer = self.call(|| self.answer()).await?;
        Ok(answer.content_length())
    }

    async fn read(&self, limit: u64) -> Result<Option<Vec<u8>>, Attempt> {
        let body = body::whole(self.answer().await?, limit).await;
        body.map_err(|error| Attempt::of_connection(self.reference(), error))
    }

    async fn answer(&self) -> Result<Response, Attempt> {
        let response = self.ask(HeaderMap::new()).await?;
        match response.status() {
            StatusCode::OK => Ok(response),
            _ => Err(Attempt::of_answer(self.reference(), response).await),
        }
    }

    async fn ask(&self, headers: HeaderMap) -> Result<Response, Attempt> {
        let question = Question {
            headers,
            ..Question::get(self.url.clone())
        };
        self.transport.ask(question).await
    }
}

#[async_trait]
impl BlobPlace for Link {
    async fn blob(&self, _digest: &Digest, start: u64) -> Result<BlobAnswer, Attempt> {
        let response = self.ask(range_from(start)).await?;
        match BlobAnswer::of(self.reference(), response, start) {
            Ok(answer) => Ok(answer),
            Err(response) => Err(Attempt::of_answer(self.reference(), response).await),
        }
    }
}
