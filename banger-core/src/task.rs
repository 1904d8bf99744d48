//! Work that runs beside its caller and is waited for.
//!
//! Purpose: blocking work away from the async threads, with an owner.
//! Invariants: a panic in the work goes on in whoever waits; work that is
//! given up ends by its token and drops what it owns.
//! Entry points: [`off_thread`], [`attended`], [`settle`].

use std::{future, panic};

use tokio::task::{JoinHandle, spawn_blocking};
use tokio_util::sync::CancellationToken;

/// The answer of a task that nobody aborts; a panic in it goes on here.
pub(crate) async fn settle<T>(task: JoinHandle<T>) -> T {
    match task.await.map_err(tokio::task::JoinError::try_into_panic) {
        Ok(answer) => answer,
        Err(Ok(cause)) => panic::resume_unwind(cause),
        // the runtime ends: this future is not polled again
        Err(Err(_)) => future::pending().await,
    }
}

/// Runs blocking work that is short, to its end.
pub(crate) async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    settle(spawn_blocking(work)).await
}

/// Runs blocking work that is long. When the caller gives up, the token is
/// cancelled and the work ends soon after, dropping what it owns.
pub(crate) async fn attended<T: Send + 'static>(
    work: impl FnOnce(&CancellationToken) -> T + Send + 'static,
) -> T {
    let token = CancellationToken::new();
    let _guard = token.clone().drop_guard();
    off_thread(move || work(&token)).await
}
