//! Blocking work away from the async threads.

use std::{future, panic};

use tokio::task::{JoinError, spawn_blocking};

/// Runs blocking work to its end, also when nobody waits for it any more. A
/// panic in it goes on here.
pub(super) async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(work)
        .await
        .map_err(JoinError::try_into_panic)
    {
        Ok(answer) => answer,
        Err(Ok(cause)) => panic::resume_unwind(cause),
        // the runtime ends: this future is not polled again
        Err(Err(_)) => future::pending().await,
    }
}
