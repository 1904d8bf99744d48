//! The end of sessions.
//!
//! Invariants: a session ends when its time is over by the clock of the host's boot,
//! and is never kept again; its machines are looked for until there are none, so that
//! one that was being made meanwhile is not missed. Entry points: [`watch`].

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use banger_core::{
    domain::{OnExpiry, Selector, Session, SessionId, VmId},
    error::in_words,
    store::StoreError,
};
use futures_util::{StreamExt as _, stream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::backend::Backend;

/// The label with the id of the session that a machine was made in.
pub(crate) const SESSION_LABEL: &str = "banger.session";

/// How often it is looked for sessions that are over.
const PERIOD: Duration = Duration::from_millis(500);
/// How many machines of one are ended at a time.
const AT_A_TIME: usize = 8;
/// How long a machine may take that is only stopped.
const GRACE: Duration = Duration::from_secs(10);
/// How often and after how long sessions are forgotten that are over.
const FORGETTING: Duration = Duration::from_hours(1);
const MEMORY: Duration = Duration::from_hours(24);

/// Ends sessions until it is cancelled.
pub(crate) async fn watch(backend: Backend, over: CancellationToken) {
    let mut forgot = Instant::now();
    loop {
        if let Err(error) = look(&backend).await {
            tracing::warn!(%error, "sessions that are over cannot be looked for");
        }
        if FORGETTING < forgot.elapsed() {
            forgot = Instant::now();
            if let Err(error) = forget(&backend).await {
                tracing::warn!(%error, "old sessions cannot be forgotten");
            }
        }
        tokio::select! {
            () = over.cancelled() => return,
            () = sleep(PERIOD) => {}
        }
    }
}

async fn forget(backend: &Backend) -> Result<(), StoreError> {
    let now = backend.clock.now();
    let before = now.checked_sub(MEMORY).unwrap_or(now);
    backend.store.forget_sessions(before).await
}

async fn look(backend: &Backend) -> Result<(), StoreError> {
    let sessions = backend.store.sessions().await?;
    let now = backend.clock.moment();
    let mut over = HashMap::new();
    for session in sessions.iter().filter(|one| one.is_over(&now)) {
        if session.ended.is_none() {
            tracing::info!(id = %session.id, name = %session.name, "a session is over");
            backend.store.end_session(session.id, now.wall).await?;
        }
        over.insert(session.id, session);
    }
    if over.is_empty() {
        return Ok(());
    }
    end_machines(backend, &over).await
}

async fn end_machines(
    backend: &Backend,
    over: &HashMap<SessionId, &Session>,
) -> Result<(), StoreError> {
    let machines = backend.store.vms_of_ended_sessions().await?;
    let ending = machines.into_iter().filter_map(|(vm, session)| {
        let session = over.get(&session)?;
        Some(end(backend, vm, session.lease.lease.on_expiry))
    });
    stream::iter(ending)
        .for_each_concurrent(AT_A_TIME, |ending| ending)
        .await;
    Ok(())
}

/// Ends a machine; one that somebody works on is met again.
async fn end(backend: &Backend, vm: VmId, on_expiry: OnExpiry) {
    let id = Selector::from(vm.to_string().as_str());
    let ended = if on_expiry == OnExpiry::Stop {
        let stopped = backend.vms.stop(&id, GRACE).await;
        stopped.map(drop).map_err(|error| in_words(&error))
    } else {
        let deleted = backend.vms.delete(&id, true).await;
        deleted.map(drop).map_err(|error| in_words(&error))
    };
    match ended {
        Ok(()) => tracing::info!(%vm, "a machine ended with its session"),
        Err(error) => tracing::debug!(%vm, error, "a machine did not end with its session yet"),
    }
}
