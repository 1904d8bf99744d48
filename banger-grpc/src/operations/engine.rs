//! Carrying an operation out, from its beginning to its recorded end.
//!
//! Invariants: an operation always ends, unless this server is told to leave it to
//! the next one; one that was asked to be given up ends when what it had made is
//! gone; one that panics fails. Entry points: [`carry_out`].

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use banger_api::v1::{self, ErrorReason, operation::Outcome, operation_event::Event};
use banger_core::{
    domain::{Operation, OperationState},
    store::OperationEnd,
};
use futures_util::FutureExt as _;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{
    Inner, Running,
    journal::Journal,
    work::{Context, Work},
};
use crate::{convert::operation::encode_outcome, fault::Fault};

/// How often an operation is begun: work that kills its server must not kill all of
/// them.
const MAX_ATTEMPTS: u32 = 5;
/// How long a full disk and the like is waited for when an end is recorded.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
];

/// How the work ended.
#[expect(
    clippy::large_enum_variant,
    reason = "one lives for a moment at an operation's end"
)]
enum Ending {
    Done(Result<Option<Outcome>, Fault>),
    Cancelled,
    /// This server is about to end: the next one goes on.
    Left,
}

/// Carries the operation out.
pub(super) async fn carry_out(inner: &Arc<Inner>, operation: Operation, running: &Running) {
    let id = operation.id;
    let operation = match inner.backend.store.attempt_operation(id).await {
        Ok(operation) => operation,
        Err(error) => {
            tracing::error!(%id, %error, "an operation is left to the next server");
            return;
        }
    };
    tracing::info!(%id, kind = operation.kind, attempt = operation.attempts, "operation begins");
    let journal = Journal::new(inner.backend.clone(), id, running.news.clone());
    journal.tell(Event::Began(v1::Began {
        attempt: operation.attempts,
    }));
    let context = Context::new(inner.backend.clone(), operation, Arc::clone(&journal));
    let over = CancellationToken::new();
    let working = async {
        let ending = run(inner, &context, running).await;
        over.cancel();
        ending
    };
    let (ending, ()) = tokio::join!(working, journal.keep_writing(&over));
    if let Some(end) = conclude(&context, ending) {
        record(inner, &context, running, &end).await;
        context.release_upload().await;
    }
}

async fn run(inner: &Inner, context: &Context, running: &Running) -> Ending {
    let attempt = AssertUnwindSafe(attempt(context)).catch_unwind();
    tokio::select! {
        biased;
        () = running.cancel.cancelled() => {}
        () = inner.abandoned.cancelled() => return Ending::Left,
        ended = attempt => {
            return Ending::Done(ended.unwrap_or_else(|_| {
                Err(Fault::new(ErrorReason::Internal, "the work broke off: this is a fault of banger"))
            }));
        }
    }
    // the work was dropped; what it leaves is undone before the end is told
    tokio::select! {
        undone = undo(context) => match undone {
            Ok(()) => Ending::Cancelled,
            Err(fault) => Ending::Done(Err(fault)),
        },
        () = inner.abandoned.cancelled() => Ending::Left,
    }
}

async fn attempt(context: &Context) -> Result<Option<Outcome>, Fault> {
    let work = Work::of(&context.operation)?;
    if MAX_ATTEMPTS < context.operation.attempts {
        work.undo(context).await?;
        let message = format!("{MAX_ATTEMPTS} servers ended before the operation did");
        return Err(Fault::new(ErrorReason::OperationInterrupted, message));
    }
    work.run(context).await
}

async fn undo(context: &Context) -> Result<(), Fault> {
    Work::of(&context.operation)?.undo(context).await
}

fn conclude(context: &Context, ending: Ending) -> Option<OperationEnd> {
    let phases = context.phases();
    let (state, outcome) = match ending {
        Ending::Left => return None,
        Ending::Cancelled => (OperationState::Cancelled, None),
        Ending::Done(Ok(outcome)) => (OperationState::Succeeded, outcome),
        Ending::Done(Err(fault)) => {
            let failure = v1::Failure::from(&fault);
            (OperationState::Failed, Some(Outcome::Failure(failure)))
        }
    };
    let made = match &outcome {
        Some(Outcome::Image(image)) if state == OperationState::Succeeded => {
            Some(image.uid.clone())
        }
        _ => None,
    };
    Some(OperationEnd {
        state,
        outcome: Some(encode_outcome(outcome, phases)),
        made,
        time: context.backend.clock.now(),
    })
}

/// Records the end; tries again when the host's disk is full and the like.
async fn record(inner: &Inner, context: &Context, running: &Running, end: &OperationEnd) {
    let id = context.operation.id;
    let mut pauses = PAUSES.iter();
    loop {
        match inner.backend.store.end_operation(id, end).await {
            Ok(ended) => {
                tracing::info!(%id, state = ended.state.as_str(), "operation ended");
                running.news.send_replace(ended.last_sequence);
                return;
            }
            Err(error) => {
                tracing::error!(%id, %error, "an operation's end cannot be recorded");
                let Some(pause) = pauses.next() else { return };
                tokio::select! {
                    () = sleep(*pause) => {}
                    () = inner.abandoned.cancelled() => return,
                }
            }
        }
    }
}
