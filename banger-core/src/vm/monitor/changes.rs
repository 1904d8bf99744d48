//! What clients may ask of a running machine beside its end.
//!
//! Invariants: they are done one after the other, by whoever owns the machine;
//! one that comes too late is refused, never left without an answer.

use camino::Utf8PathBuf;
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use super::{
    keep::Keeper,
    machine::RunningMachine,
    record::{Record, RecordError},
};
use crate::{domain::VmState, error::ErrorKind, vm::in_words, vmm::BackendError};

/// Requests that may wait.
const QUEUE: usize = 16;

/// A request and where its answer goes.
#[derive(Debug)]
pub(super) struct ChangeRequest {
    change: Change,
    answer: oneshot::Sender<Result<(), Status>>,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Pause,
    Resume,
    /// Its state is to be kept in a directory.
    Keep(Utf8PathBuf),
}

/// The asking end of a queue of requests.
#[derive(Clone, Debug)]
pub(super) struct ChangeSender(mpsc::Sender<ChangeRequest>);

/// A queue of requests.
pub(super) fn queue() -> (ChangeSender, mpsc::Receiver<ChangeRequest>) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (ChangeSender(sender), receiver)
}

impl ChangeSender {
    /// Asks and waits for the answer.
    pub(super) async fn ask(&self, change: Change) -> Result<(), Status> {
        let (answer, answered) = oneshot::channel();
        let request = ChangeRequest { change, answer };
        // a closed queue drops the request and with it the answer's sender
        self.0.send(request).await.ok();
        answered
            .await
            .unwrap_or_else(|_| Err(Status::failed_precondition("the VM is not up")))
    }
}

impl ChangeRequest {
    /// Does what is asked for, and answers. May be cancelled: whoever asked is
    /// told that the machine is not up then.
    pub(super) async fn serve(
        self,
        machine: &mut RunningMachine,
        record: &mut Record,
        keeper: Keeper<'_>,
    ) {
        let Self { change, mut answer } = self;
        let done = match change {
            Change::Pause => pause(machine, record, "it was asked to pause").await,
            Change::Resume => resume(machine, record, "it was asked to go on").await,
            Change::Keep(directory) => {
                let given_up = answer.closed();
                keeper.keep(&directory, given_up, machine, record).await
            }
        };
        // whoever asked may be gone
        answer.send(done).ok();
    }
}

/// Stops the CPUs, unless they stand still.
pub(super) async fn pause(
    machine: &mut RunningMachine,
    record: &mut Record,
    reason: &str,
) -> Result<(), Status> {
    if record.vm().state == VmState::Paused {
        return Ok(());
    }
    done(machine.pause().await)?;
    recorded(record.paused(reason).await)
}

/// Lets the CPUs go on, unless they do.
pub(super) async fn resume(
    machine: &mut RunningMachine,
    record: &mut Record,
    reason: &str,
) -> Result<(), Status> {
    if record.vm().state == VmState::Running {
        return Ok(());
    }
    done(machine.resume().await)?;
    recorded(record.resumed(reason).await)
}

/// What a VMM's answer is to whoever asked.
pub(super) fn done(done: Result<(), BackendError>) -> Result<(), Status> {
    done.map_err(|error| {
        let words = in_words(&error);
        match error.kind() {
            ErrorKind::ResourceExhausted => Status::resource_exhausted(words),
            _ => Status::internal(words),
        }
    })
}

fn recorded(recorded: Result<(), RecordError>) -> Result<(), Status> {
    recorded.map_err(|error| {
        let error = in_words(&error);
        Status::internal(format!("its record could not be changed: {error}"))
    })
}
