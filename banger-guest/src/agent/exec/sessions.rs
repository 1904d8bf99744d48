//! The sessions of the machine.
//!
//! Invariants: an id names one session at a time; sessions and the memory of
//! ended ones are bounded in number, bytes and time. Of the ended, those whose
//! client has heard everything go first, then the oldest.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use banger_proto::guest::v1::{CreateExecRequest, ExecInfo};
use tokio::{sync::watch, time::Instant};
use tokio_util::task::TaskTracker;
use tonic::Status;

use super::{
    accounts::Accounts, failure::SpawnError, request::Command, session::Session, terms::Terms,
};

/// Sessions that run at a time.
const RUNNING: usize = 128;
/// Ended sessions that are kept.
const ENDED: usize = 32;
/// Bytes of output that ended sessions keep together.
const ENDED_BYTES: usize = 8 << 20;
/// How long an ended session is kept.
const ENDED_AGE: Duration = Duration::from_mins(15);

/// How a start went; none while it goes.
type Outcome = Option<Result<Arc<Session>, Status>>;

/// All sessions.
#[derive(Clone, Debug)]
pub(crate) struct Sessions {
    tasks: TaskTracker,
    entries: Arc<Mutex<Vec<Entry>>>,
}

#[derive(Clone, Debug)]
struct Entry {
    id: String,
    fingerprint: u64,
    outcome: watch::Receiver<Outcome>,
}

impl Entry {
    fn session(&self) -> Option<Arc<Session>> {
        self.outcome.borrow().as_ref()?.as_ref().ok().cloned()
    }

    async fn started(mut self) -> Result<Arc<Session>, Status> {
        let outcome = self.outcome.wait_for(Option::is_some).await;
        let outcome = outcome.ok().and_then(|outcome| outcome.clone());
        outcome.unwrap_or_else(|| Err(lost()))
    }
}

fn lost() -> Status {
    SpawnError::resources("keep the process's task")(std::io::ErrorKind::Interrupted.into()).into()
}

impl Sessions {
    /// None yet; processes become tasks of `tasks`.
    pub(crate) fn new(tasks: TaskTracker) -> Self {
        Self {
            tasks,
            entries: Arc::default(),
        }
    }

    /// Starts a session, or answers the one that this request started already.
    /// Dropping the future changes nothing.
    pub(crate) async fn create(&self, request: CreateExecRequest) -> Result<u32, Status> {
        let terms = Terms::parse(&request)?;
        let entry = self.entry(request, terms)?;
        Ok(entry.started().await?.pid())
    }

    /// The session with this id.
    pub(super) async fn find(&self, id: &str) -> Result<Arc<Session>, Status> {
        let entry = self.lock().iter().find(|entry| entry.id == id).cloned();
        match entry {
            Some(entry) => entry.started().await,
            None => Err(Status::not_found("there is no such session")),
        }
    }

    /// All of them, oldest first.
    pub(crate) fn list(&self) -> Vec<ExecInfo> {
        let mut entries = self.lock();
        sweep(&mut entries);
        let sessions = entries.iter().filter_map(Entry::session);
        sessions.map(|session| session.info()).collect()
    }

    /// Ends and forgets a session; answers whether there was one.
    pub(crate) async fn delete(&self, id: &str) -> bool {
        let Ok(session) = self.find(id).await else {
            return false;
        };
        session.end().await;
        self.forget(&session);
        true
    }

    /// Ends every process.
    pub(crate) async fn end_all(&self) {
        let entries = self.lock().clone();
        for session in entries.iter().filter_map(Entry::session) {
            session.give_up();
        }
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// The entry of an id: the one there is, or one whose process is started.
    fn entry(&self, request: CreateExecRequest, terms: Terms) -> Result<Entry, Status> {
        let mut entries = self.lock();
        sweep(&mut entries);
        if let Some(known) = entries.iter().find(|entry| entry.id == terms.id) {
            if known.fingerprint == terms.fingerprint {
                return Ok(known.clone());
            }
            return Err(Status::already_exists("the session's id is another's"));
        }
        let running = entries.iter().filter(|entry| !has_ended(entry)).count();
        if RUNNING <= running {
            let limit = std::io::Error::other(format!("{RUNNING} sessions run already"));
            return Err(SpawnError::resources("start another session")(limit).into());
        }
        let (sender, outcome) = watch::channel(None);
        let entry = Entry {
            id: terms.id.clone(),
            fingerprint: terms.fingerprint,
            outcome,
        };
        entries.push(entry.clone());
        self.tasks.spawn(self.clone().run(request, terms, sender));
        Ok(entry)
    }

    async fn run(self, request: CreateExecRequest, terms: Terms, outcome: watch::Sender<Outcome>) {
        let id = terms.id.clone();
        let started =
            match Command::parse(request.start.unwrap_or_default(), &Accounts::of_machine()) {
                Ok(command) => Session::start(&command, terms).await,
                Err(failure) => Err(failure),
            };
        match started {
            Ok((session, streams)) => {
                let session = Arc::new(session);
                outcome.send_replace(Some(Ok(Arc::clone(&session))));
                session.live(streams).await;
                sweep(&mut self.lock());
            }
            Err(failure) => {
                // whoever asks again tries again
                self.lock().retain(|entry| entry.id != id);
                outcome.send_replace(Some(Err(failure.into())));
            }
        }
    }

    fn forget(&self, session: &Arc<Session>) {
        let is_other = |entry: &Entry| {
            let other = entry.session();
            other.is_none_or(|other| !Arc::ptr_eq(&other, session))
        };
        self.lock().retain(is_other);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn has_ended(entry: &Entry) -> bool {
    entry
        .session()
        .is_some_and(|session| session.state().borrow().exit().is_some())
}

/// An ended session without a client.
struct Idle {
    id: String,
    told: bool,
    since: Instant,
    cost: usize,
}

impl Idle {
    fn of(entry: &Entry) -> Option<Self> {
        let session = entry.session()?;
        let state = session.state();
        let state = state.borrow();
        Some(Self {
            id: entry.id.clone(),
            told: state.is_told(),
            since: state.idle_since()?,
            cost: state.ring().cost(),
        })
    }
}

/// Forgets the ended sessions that are too many, too large or too old.
fn sweep(entries: &mut Vec<Entry>) {
    let mut idle: Vec<Idle> = entries.iter().filter_map(Idle::of).collect();
    // the last are kept the longest
    idle.sort_by_key(|one| (!one.told, one.since));
    let (mut kept, mut bytes) = (0, 0);
    let mut forgotten = Vec::new();
    for one in idle.into_iter().rev() {
        let too_old = ENDED_AGE < one.since.elapsed();
        if too_old || kept == ENDED || ENDED_BYTES < bytes + one.cost {
            forgotten.push(one.id);
        } else {
            kept += 1;
            bytes += one.cost;
        }
    }
    entries.retain(|entry| !forgotten.contains(&entry.id));
}
