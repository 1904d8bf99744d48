//! The first message of a stream that a client sends.

use std::time::Duration;

use tokio::time::timeout;
use tonic::Streaming;

/// How long a client may take to say what its stream is about.
const FIRST_MESSAGE: Duration = Duration::from_secs(30);

/// The first message; none of a client that says nothing in time, or breaks off.
pub(super) async fn first_message<M>(sent: &mut Streaming<M>) -> Option<M> {
    let first = timeout(FIRST_MESSAGE, sent.message()).await;
    first.ok().and_then(Result::ok).flatten()
}
