//! The question for a blob, or for the rest of it, and its answer
//! (RFC 9110, 14).

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream::BoxStream};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use reqwest::Response;

use super::failure::Attempt;
use crate::domain::Digest;

/// Where bytes can be asked for by their digest.
#[async_trait]
pub(in crate::oci) trait BlobPlace: Sync {
    /// A blob from byte `start` on.
    async fn blob(&self, digest: &Digest, start: u64) -> Result<BlobAnswer, Attempt>;
}

/// What a server answers to the question for a blob.
pub(in crate::oci) enum BlobAnswer {
    /// All its bytes, whatever part was asked for.
    Whole(Chunks),
    /// The bytes that were asked for.
    Rest(Chunks),
    /// No part of it is to be had.
    NoRest,
}

/// A body as it comes.
pub(in crate::oci) type Chunks = BoxStream<'static, Result<Bytes, Attempt>>;

impl BlobAnswer {
    /// What an answer means that is no failure; the answer otherwise.
    pub(super) fn of(reference: &str, response: Response, start: u64) -> Result<Self, Response> {
        match response.status() {
            StatusCode::OK => Ok(Self::Whole(chunks(reference, response))),
            StatusCode::PARTIAL_CONTENT if start != 0 => {
                Ok(if first_byte(response.headers()) == Some(start) {
                    Self::Rest(chunks(reference, response))
                } else {
                    Self::NoRest
                })
            }
            StatusCode::RANGE_NOT_SATISFIABLE if start != 0 => Ok(Self::NoRest),
            _ => Err(response),
        }
    }
}

fn chunks(reference: &str, response: Response) -> Chunks {
    let reference = reference.to_owned();
    let broken = move |error| Attempt::of_connection(&reference, error);
    let chunks = response.bytes_stream();
    chunks.map(move |chunk| chunk.map_err(&broken)).boxed()
}

/// What asks for all bytes from `start` on.
pub(super) fn range_from(start: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if start != 0
        && let Ok(range) = HeaderValue::try_from(format!("bytes={start}-"))
    {
        headers.insert(header::RANGE, range);
    }
    headers
}

/// The start of `Content-Range: bytes START-END/LENGTH` (RFC 9110, 14.4).
pub(super) fn first_byte(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (start, _) = text.strip_prefix("bytes ")?.split_once('-')?;
    start.trim().parse().ok()
}
