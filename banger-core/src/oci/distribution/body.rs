//! Reading answers no further than they may be long.

use futures_util::StreamExt as _;
use reqwest::Response;

/// A body, or none when it is longer than `limit`.
pub(super) async fn whole(
    response: Response,
    limit: u64,
) -> Result<Option<Vec<u8>>, reqwest::Error> {
    if response
        .content_length()
        .is_some_and(|length| limit < length)
    {
        return Ok(None);
    }
    let mut stream = response.bytes_stream();
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk?;
        if limit < (bytes.len() + chunk.len()) as u64 {
            return Ok(None);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Some(bytes))
}

/// The start of a body, as much of it as comes.
pub(super) async fn start(response: Response, limit: usize) -> Vec<u8> {
    let mut stream = response.bytes_stream();
    let mut bytes = Vec::new();
    while bytes.len() < limit
        && let Some(Ok(chunk)) = stream.next().await
    {
        bytes.extend_from_slice(&chunk);
    }
    bytes.truncate(limit);
    bytes
}
