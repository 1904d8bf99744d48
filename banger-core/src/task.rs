//! Work that runs beside its caller and is waited for.
//!
//! Purpose: blocking work away from the async threads, with an owner.
//! Invariants: a panic in the work goes on in whoever waits; work that is
//! given up ends by its token and drops what it owns.
//! Entry points: [`off_thread`], [`attended`], [`reporting`], [`telling`], [`settle`].

use std::{future, panic};

use tokio::{
    sync::mpsc,
    task::{JoinError, spawn_blocking},
};
use tokio_util::sync::CancellationToken;

use crate::progress::{ProgressEvent, ProgressSink};

/// Runs blocking work that is long and tells of its progress. When the caller
/// gives up or cancels the token, the work ends soon after.
pub(crate) async fn reporting<T: Send + 'static>(
    progress: &dyn ProgressSink,
    cancel: &CancellationToken,
    work: impl FnOnce(&dyn ProgressSink, &CancellationToken) -> T + Send + 'static,
) -> T {
    let cancel = cancel.child_token();
    let _cancel_on_drop = cancel.clone().drop_guard();
    let (sender, mut events) = mpsc::channel(64);
    let worked = spawn_blocking(move || work(&ChannelProgress(sender), &cancel));
    while let Some(event) = events.recv().await {
        progress.emit(event);
    }
    settle(worked).await
}

/// The same where nothing but giving up ends the work early.
pub(crate) async fn telling<T: Send + 'static>(
    progress: &dyn ProgressSink,
    work: impl FnOnce(&dyn ProgressSink, &CancellationToken) -> T + Send + 'static,
) -> T {
    reporting(progress, &CancellationToken::new(), work).await
}

/// Hands events from a blocking thread to the future that waits for it.
#[derive(Debug)]
struct ChannelProgress(mpsc::Sender<ProgressEvent>);

impl ProgressSink for ChannelProgress {
    fn emit(&self, event: ProgressEvent) {
        // nobody listens any more once the work was given up
        drop(self.0.blocking_send(event));
    }
}

/// The answer of a task that nobody aborts; a panic in it goes on here.
pub(crate) async fn settle<T>(task: impl Future<Output = Result<T, JoinError>>) -> T {
    match task.await.map_err(JoinError::try_into_panic) {
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
