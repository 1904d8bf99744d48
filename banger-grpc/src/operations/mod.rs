//! Work that outlives the call that asked for it.
//!
//! Purpose: one place that begins, carries out, resumes, tells of and cancels
//! operations. Invariants: the record is on disk before anybody is answered and
//! before the work begins; what runs in this process is in [`Operations`]' list, so
//! a record that runs and is not there belongs to a server that is gone; a call that
//! is dropped changes nothing about the work that it asked for.
//! Entry points: [`Operations::begin`], [`Operations::resume`], [`Operations::drain`].

mod artifacts;
mod build;
mod engine;
mod images;
mod journal;
mod load;
mod machines;
mod receipt;
mod room;
mod snapshots;
#[cfg(test)]
mod tests;
mod update;
mod volumes;
mod watch;
mod work;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use banger_api::v1::ErrorReason;
use banger_core::{
    domain::{BegunOperation, Operation, OperationId, OperationRequest},
    store::StoreError,
};
use tokio::{
    sync::{Mutex as AsyncMutex, watch as channel},
    time::{Instant, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    backend::Backend,
    caller::Caller,
    capacity::{Admission, Reservation},
    fault::Fault,
    request::name::OperationName,
    sessions, uploads,
};

pub(crate) use artifacts::{import_request, pull_request};
pub(crate) use build::{build_request, check_length};
pub(crate) use images::{prune_request, register_request};
pub(crate) use load::{is_host_bundle, load_request};
pub(crate) use machines::{check_session, create_request};
pub(crate) use receipt::Receipt;
pub(crate) use room::{of_build, of_create, of_kept, of_start, of_volume};
pub(crate) use snapshots::restore_request;
pub(crate) use update::update_request;
pub(crate) use volumes::{have_host_path, settle_volumes, volume_request};
pub(crate) use watch::Events;
pub(crate) use work::Work;

/// How long operations are remembered after their end.
const MEMORY: Duration = Duration::from_hours(24);

/// After how many new operations old ones are forgotten.
const FORGETTING: u32 = 128;

/// How long it may take to leave what is at work to the next server.
const LEAVING: Duration = Duration::from_secs(5);

/// The operations of a server.
#[derive(Clone, Debug)]
pub(crate) struct Operations {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    backend: Backend,
    admission: Admission,
    /// What is at work in this process.
    running: Mutex<HashMap<OperationId, Arc<Running>>>,
    /// Held between recording an operation and listing it as one that runs, and while
    /// it is decided that nothing new begins: an operation is seen by whoever drains, or
    /// is refused.
    beginning: AsyncMutex<()>,
    /// How many operations began in this process.
    begun: AtomicU32,
    tasks: TaskTracker,
    /// Cancelled when nothing new begins any more.
    draining: CancellationToken,
    /// Cancelled when what still runs is left to the next server.
    abandoned: CancellationToken,
}

/// An operation at work.
#[derive(Debug)]
struct Running {
    /// Cancelled when somebody asked for it to be given up.
    cancel: CancellationToken,
    /// Changes with every event; gone at the end.
    news: channel::Sender<u64>,
}

/// Work, and the room that was found for it.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) work: Work,
    pub(crate) room: Option<Reservation>,
}

impl From<Work> for Settled {
    fn from(work: Work) -> Self {
        Self { work, room: None }
    }
}

/// A request for work, as it came.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) caller: String,
    pub(crate) request_id: String,
    /// What tells it from another request.
    pub(crate) digest: String,
}

impl Operations {
    pub(crate) fn new(backend: Backend) -> Self {
        Self {
            inner: Arc::new(Inner {
                admission: Admission::new(backend.store.clone(), backend.budget),
                backend,
                running: Mutex::default(),
                beginning: AsyncMutex::new(()),
                begun: AtomicU32::new(0),
                tasks: TaskTracker::new(),
                draining: CancellationToken::new(),
                abandoned: CancellationToken::new(),
            }),
        }
    }

    /// Who gives room to operations.
    pub(crate) fn admission(&self) -> &Admission {
        &self.inner.admission
    }

    /// The operation that this very request began before; none when it is new.
    pub(crate) async fn known(&self, asked: &Asked) -> Result<Option<Operation>, Fault> {
        let store = &self.inner.backend.store;
        let digest = store
            .digest_of_request(&asked.caller, &asked.request_id)
            .await?;
        match digest {
            Some(digest) if digest != asked.digest => Err(id_reused(&asked.request_id)),
            Some(_) => {
                let found = store.operation_of_request(&asked.caller, &asked.request_id);
                Ok(found.await?)
            }
            None => Ok(None),
        }
    }

    /// Begins the work, unless this very request began it before, or nothing begins any
    /// more. Cancelling changes nothing: it is begun or was not.
    pub(crate) async fn begin(&self, asked: Asked, work: Settled) -> Result<Operation, Fault> {
        let inner = Arc::clone(&self.inner);
        let begun = self.inner.tasks.spawn(inner.begin(asked, work));
        begun.await.unwrap_or_else(|_| {
            let message = "the operation could not be begun";
            Err(Fault::new(ErrorReason::Internal, message))
        })
    }

    /// The operation that a client names.
    pub(crate) async fn find(
        &self,
        caller: &Caller,
        name: &OperationName,
    ) -> Result<Operation, Fault> {
        let store = &self.inner.backend.store;
        let (found, text) = match name {
            OperationName::Id(id) => {
                let found = store.operation_of(caller.sees(), *id).await?;
                (found, id.to_string())
            }
            OperationName::Request(id) => {
                let found = store.operation_of_request(caller.identity(), id).await?;
                (found, format!("by-request/{id}"))
            }
        };
        found.ok_or_else(|| {
            let message = format!("operation {text} does not exist");
            Fault::new(ErrorReason::OperationNotFound, message).about("banger.v1.Operation", &text)
        })
    }

    /// A page of operations beyond one, newest or oldest first.
    pub(crate) async fn list(
        &self,
        caller: &Caller,
        beyond: Option<OperationId>,
        newest_first: bool,
        limit: u32,
    ) -> Result<Vec<Operation>, StoreError> {
        let store = &self.inner.backend.store;
        let seen = caller.sees();
        store.operations_of(seen, beyond, newest_first, limit).await
    }

    /// The operation when it is over, or as it stands when the time is up.
    pub(crate) async fn wait(
        &self,
        caller: &Caller,
        id: OperationId,
        limit: Duration,
    ) -> Result<Operation, Fault> {
        let deadline = Instant::now() + limit;
        loop {
            // subscribed before the record is read: no change is missed
            let news = self.inner.news(id).await;
            let now = self.inner.current(caller, id).await?;
            let Some(mut news) = news else { return Ok(now) };
            if now.state.is_over() || timeout_at(deadline, news.changed()).await.is_err() {
                return Ok(now);
            }
        }
    }

    /// Marks an operation as one to be given up. What others asked for as well goes on,
    /// unless everything is the caller's.
    pub(crate) async fn cancel(
        &self,
        caller: &Caller,
        id: OperationId,
    ) -> Result<Operation, Fault> {
        let store = &self.inner.backend.store;
        if !caller.is_admin() && 1 < store.callers_of_operation(id).await?.len() {
            let message = format!("operation {id} has other callers, too");
            return Err(Fault::new(ErrorReason::OutOfScope, message));
        }
        store.cancel_operation(id).await?;
        if let Some(running) = self.inner.lock().get(&id) {
            running.cancel.cancel();
        }
        self.inner.current(caller, id).await
    }

    /// The operation's events from a number on.
    pub(crate) fn watch(&self, caller: Caller, id: OperationId, from: u64) -> Events {
        Events::new(Arc::clone(&self.inner), caller, id, from)
    }

    /// Goes on with what servers before this one left, and forgets what is old.
    pub(crate) async fn resume(&self) -> Result<(), StoreError> {
        let backend = &self.inner.backend;
        let store = &backend.store;
        store.begin_sessions_anew(&backend.clock.moment()).await?;
        let watching = sessions::watch(backend.clone(), self.inner.draining.clone());
        self.inner.tasks.spawn(watching);
        let sweeping = uploads::watch(backend.clone(), self.inner.draining.clone());
        self.inner.tasks.spawn(sweeping);
        for operation in store.unfinished_operations().await? {
            let room = room::of_operation(backend, &operation).await;
            let room = room.map(|need| self.inner.admission.claim(need));
            self.inner.spawn(operation, room);
        }
        self.inner.forget().await
    }

    /// Waits until nothing is at work, and answers how many operations still are when the
    /// time is up. From its first step on nothing begins, whatever was let in before;
    /// sessions are not looked at any more, as nobody can keep them.
    pub(crate) async fn finish(&self, limit: Duration) -> usize {
        self.is_finished_within(limit).await;
        self.inner.lock().len()
    }

    async fn is_finished_within(&self, limit: Duration) -> bool {
        let beginning = self.inner.beginning.lock().await;
        self.inner.draining.cancel();
        drop(beginning);
        self.inner.tasks.close();
        let finished = tokio::time::timeout(limit, self.inner.tasks.wait()).await;
        finished.is_ok()
    }

    /// Waits until nothing is at work, and leaves to the next server what is not done
    /// in time.
    pub(crate) async fn drain(&self, limit: Duration) {
        if !self.is_finished_within(limit).await {
            self.inner.abandoned.cancel();
            // whatever is not done by then, the next server takes for left as well
            drop(tokio::time::timeout(LEAVING, self.inner.tasks.wait()).await);
        }
    }
}

impl Inner {
    async fn begin(self: Arc<Self>, asked: Asked, settled: Settled) -> Result<Operation, Fault> {
        let Settled { work, room } = settled;
        let request_id = asked.request_id.clone();
        let request = OperationRequest {
            caller: asked.caller,
            request_id: asked.request_id,
            digest: asked.digest,
            shareable: work.is_shareable(),
            kind: work.kind_name(),
            target: work.target(),
            request: work.encode(),
            time: self.backend.clock.now(),
        };
        let _beginning = self.beginning.lock().await;
        // whoever asked was let in before that was decided
        if self.draining.is_cancelled() {
            return Err(Fault::draining());
        }
        match self.backend.store.begin_operation(&request).await? {
            BegunOperation::New(operation) => {
                self.spawn(operation.clone(), room);
                self.forget_now_and_then().await;
                Ok(operation)
            }
            BegunOperation::Known(operation) => Ok(operation),
            BegunOperation::IdReused => Err(id_reused(&request_id)),
        }
    }

    /// Forgets what ended long ago.
    async fn forget(&self) -> Result<(), StoreError> {
        let now = self.backend.clock.now();
        let before = now.checked_sub(MEMORY).unwrap_or(now);
        self.backend.store.forget_operations(before).await.map(drop)
    }

    /// The same once for so many operations that begin: what is remembered is bounded
    /// by what is done in a day.
    async fn forget_now_and_then(&self) {
        let begun = self.begun.fetch_add(1, Ordering::Relaxed);
        if begun % FORGETTING == FORGETTING - 1
            && let Err(error) = self.forget().await
        {
            tracing::warn!(%error, "old operations cannot be forgotten");
        }
    }

    fn spawn(self: &Arc<Self>, operation: Operation, room: Option<Reservation>) {
        if let Some(room) = &room {
            room.belongs_to(&operation.id.to_string());
        }
        let running = Arc::new(Running {
            cancel: CancellationToken::new(),
            news: channel::Sender::new(operation.last_sequence),
        });
        if operation.cancel_requested {
            running.cancel.cancel();
        }
        let (inner, id) = (Arc::clone(self), operation.id);
        self.lock().insert(id, Arc::clone(&running));
        self.tasks.spawn(async move {
            engine::carry_out(&inner, operation, &running).await;
            inner.lock().remove(&id);
            // its machine's record counts from here on
            drop(room);
        });
    }

    async fn current(&self, caller: &Caller, id: OperationId) -> Result<Operation, Fault> {
        let found = self.backend.store.operation_of(caller.sees(), id).await?;
        found.ok_or_else(|| {
            let message = format!("operation {id} does not exist any more");
            Fault::new(ErrorReason::OperationNotFound, message)
        })
    }

    /// Tells of news of an operation; none when it is not at work here. One that was
    /// just recorded is.
    async fn news(&self, id: OperationId) -> Option<channel::Receiver<u64>> {
        drop(self.beginning.lock().await);
        let running = self.lock();
        running.get(&id).map(|one| one.news.subscribe())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<OperationId, Arc<Running>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn id_reused(request_id: &str) -> Fault {
    let message = format!("request id {request_id} was used for another request");
    Fault::new(ErrorReason::RequestIdReused, message)
}
