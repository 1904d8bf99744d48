//! Operations, as calls that last as long as they do.

use banger_api::v1::{
    CancelOperationRequest, Operation, operation::Outcome, operation_event::Event,
};
use banger_core::progress::ProgressSink;
use tokio::task::{JoinError, JoinHandle};
use tokio_util::task::TaskTracker;

use super::{Server, progress};
use crate::{Change, Client, Failure, retry};

/// What dropping a call does to its operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnDrop {
    /// It goes on.
    Leave,
    /// It is given up, and what it made is removed.
    Cancel,
}

/// Gives an operation up that nobody waits for.
struct Guard {
    client: Client,
    tasks: TaskTracker,
    /// None when there is nothing to be given up.
    name: Option<String>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(name) = self.name.take() else {
            return;
        };
        let client = self.client.clone();
        drop(self.tasks.spawn(async move {
            let request = CancelOperationRequest { name: name.clone() };
            let cancelled = retry::until(client.deadline(), || {
                let (request, mut operations) = (request.clone(), client.operations());
                async move { operations.cancel_operation(request).await }
            });
            // until what it made is gone
            if cancelled.await.is_ok() {
                let mut watch = client.watch_operation(&name, 0);
                while let Ok(Some(_)) = watch.next().await {}
            }
        }));
    }
}

impl Server {
    /// Has something done, tells of its progress, and answers what came of it.
    pub(super) async fn carry_out<C: Change + Sync>(
        &self,
        request: C,
        on_drop: OnDrop,
        progress: &dyn ProgressSink,
    ) -> Result<Option<Outcome>, Failure> {
        let request = request.identified();
        let mut guard = Guard {
            client: self.client.clone(),
            tasks: self.tasks.clone(),
            name: (on_drop == OnDrop::Cancel)
                .then(|| format!("operations/by-request/{}", request.request_id())),
        };
        let done = self.follow(request, progress).await;
        guard.name = None;
        let done = done?;
        match Failure::of_operation(&done) {
            Some(failure) => Err(failure),
            None => Ok(done.outcome),
        }
    }

    async fn follow<C: Change>(
        &self,
        request: C,
        progress: &dyn ProgressSink,
    ) -> Result<Operation, Failure> {
        let begun = self.client.begin(request).await?;
        let mut watch = self.client.watch_operation(&begun.name, 0);
        let mut next = 0;
        while let Some(told) = watch.next().await? {
            let has_gap = next < told.sequence && 0 < next;
            next = told.sequence + 1;
            match told.event {
                Some(Event::Ended(operation)) => return Ok(operation),
                Some(event) => {
                    if let Some(missing) = progress::missing(&event, has_gap) {
                        progress.emit(missing);
                    }
                    if let Some(event) = progress::event(event) {
                        progress.emit(event);
                    }
                }
                None => {}
            }
        }
        Err(Failure::cut())
    }
}

/// What a thread answers.
pub(super) async fn settle<T>(thread: JoinHandle<T>) -> T {
    match thread.await.map_err(JoinError::try_into_panic) {
        Ok(answer) => answer,
        Err(Ok(cause)) => std::panic::resume_unwind(cause),
        // the runtime ends: this future is not polled again
        Err(Err(_)) => std::future::pending().await,
    }
}
