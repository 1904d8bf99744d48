//! What clients may ask of a running machine beside its end.
//!
//! Invariants: they are done one after the other, by whoever owns the machine;
//! one that comes too late is refused, never left without an answer.

use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use super::{
    machine::RunningMachine,
    record::{Record, RecordError},
};
use crate::{domain::VmState, vm::in_words, vmm::BackendError};

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
    /// Does what is asked for, and answers.
    pub(super) async fn serve(self, machine: &mut RunningMachine, record: &mut Record) {
        let done = match self.change {
            Change::Pause => pause(machine, record).await,
            Change::Resume => resume(machine, record).await,
        };
        // whoever asked may be gone
        self.answer.send(done).ok();
    }
}

async fn pause(machine: &mut RunningMachine, record: &mut Record) -> Result<(), Status> {
    if record.vm().state == VmState::Paused {
        return Ok(());
    }
    done(machine.pause().await)?;
    recorded(record.paused().await)
}

async fn resume(machine: &mut RunningMachine, record: &mut Record) -> Result<(), Status> {
    if record.vm().state == VmState::Running {
        return Ok(());
    }
    done(machine.resume().await)?;
    recorded(record.resumed().await)
}

fn done(done: Result<(), BackendError>) -> Result<(), Status> {
    done.map_err(|error| Status::internal(in_words(&error)))
}

fn recorded(recorded: Result<(), RecordError>) -> Result<(), Status> {
    recorded.map_err(|error| {
        let error = in_words(&error);
        Status::internal(format!("its record could not be changed: {error}"))
    })
}
