//! A caller's side of a session, over as many connections as it takes.
//!
//! Invariants: the caller gets every byte once and in order, and exactly one
//! exit or error as the last event; both its channels are bounded; nothing that
//! it said is lost with a connection; when it lets go, the guest is told.

use std::time::Duration;

use banger_proto::{
    MAX_EXEC_CHUNK,
    guest::v1::{
        AttachExec, AttachExecRequest, AttachExecResponse, CloseStdin, DeleteExecRequest,
        ExecAccepted, ExecAttached, ExecInput, ExecOutput, ExecSignal, ExecStream, WhenDetached,
        attach_exec_request::Request, attach_exec_response::Response,
    },
};
use tokio::sync::{
    mpsc::{self, error::SendError},
    oneshot, watch,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::{
    Accepted, ExecError, ExecEvent, ExecId, ExecSession, Leaving, Settled,
    exec_agent::{Agent, Client, Failure},
    exec_caller::{Caller, Limits, Outgoing, Said, Taken, say},
    exec_wire::{exit_of, is_broken, wire_size},
};

/// Messages that may wait in each direction.
const QUEUE: usize = 4;
/// What the guest allows. It keeps a multiple of what is acknowledged at once.
const LIMITS: Limits = Limits {
    input: 256 << 10,
    piece: MAX_EXEC_CHUNK,
    acknowledged: 128 << 10,
};
/// How long attaching may take, and how long a broken connection is made again.
const ATTACH_DEADLINE: Duration = Duration::from_secs(30);
/// How long ending a session may take.
const DELETE_DEADLINE: Duration = Duration::from_secs(10);

type Event = Result<ExecEvent, ExecError>;

/// A session of a guest, and where this caller is in it.
#[derive(Debug)]
pub(super) struct Relay {
    pub(super) agent: Agent,
    pub(super) id: ExecId,
    /// The caller has all output below.
    pub(super) offset: u64,
}

/// A connection to a session.
#[derive(Debug)]
struct Joined {
    attached: ExecAttached,
    requests: mpsc::Sender<AttachExecRequest>,
    responses: Streaming<AttachExecResponse>,
}

/// How a connection ended.
#[derive(Debug)]
enum End {
    /// The caller got the exit.
    Exit,
    /// The caller let go.
    Dropped,
    /// The connection broke.
    Broken,
    /// The session cannot go on.
    Failed(ExecError),
}

impl Relay {
    /// Attaches, and passes everything on in a task of the host's.
    pub(super) async fn start(self) -> Result<ExecSession, ExecError> {
        let joined = self.join().await?;
        let accepted = taken(&joined.attached).accepted;
        let (caller, ends) = Caller::new(QUEUE, self.offset, accepted);
        let leaving = Leaving::default();
        let (settled, settling) = oneshot::channel();
        let session = ExecSession {
            id: self.id.clone(),
            pid: joined.attached.pid,
            terminal: joined.attached.terminal,
            stdin_offset: accepted.stdin_offset,
            control: ends.control,
            events: ends.events,
            accepted: ends.accepted,
            leaving: leaving.clone(),
            settled: Settled(settling),
        };
        let tasks = self.agent.host.tasks.clone();
        drop(tasks.spawn(async move {
            self.run(joined, caller, leaving).await;
            // nobody may wait for it
            settled.send(()).ok();
        }));
        Ok(session)
    }

    async fn run(mut self, mut joined: Joined, mut caller: Caller<ExecError>, leaving: Leaving) {
        let is_kept = joined.attached.when_detached() == WhenDetached::Keep;
        let closed = joined.attached.stdin_closed;
        let mut outgoing = Outgoing::new(LIMITS, taken(&joined.attached), closed, self.offset);
        loop {
            match self.accompany(joined, &mut outgoing, &mut caller).await {
                End::Broken => {}
                // what the caller was told of is not done with until it lets go
                End::Exit => break caller.events.closed().await,
                End::Dropped => break,
                End::Failed(error) => {
                    drop(caller.events.send(Err(error)).await);
                    return;
                }
            }
            let again = tokio::select! {
                again = self.join() => again,
                () = caller.events.closed() => break,
            };
            joined = match again {
                Ok(again) => again,
                Err(error) => {
                    drop(caller.events.send(Err(error)).await);
                    return;
                }
            };
            let taken = taken(&joined.attached);
            outgoing.resume(taken, joined.attached.stdin_closed, self.offset);
            caller.accepted.send_replace(taken.accepted);
        }
        if !is_kept && !leaving.detaches() {
            self.delete().await;
        }
    }

    async fn join(&self) -> Result<Joined, ExecError> {
        let attach = AttachExec {
            exec_id: self.id.to_string(),
            from_offset: self.offset,
        };
        let joined = self
            .agent
            .call(ATTACH_DEADLINE, |client| join(client, attach.clone()));
        joined.await.map_err(|failure| self.failed(failure))
    }

    fn failed(&self, failure: Failure) -> ExecError {
        let status = match failure {
            Failure::Unreached(error) => return error,
            Failure::Refused(status) => status,
        };
        let (name, id) = (self.agent.name.clone(), self.id.clone());
        match status.code() {
            Code::NotFound => ExecError::NoSuchExec { name, id },
            Code::OutOfRange => ExecError::BeyondOutput {
                id,
                offset: self.offset,
            },
            _ => self.agent.refusal(&status),
        }
    }

    /// Passes everything on while the connection lasts.
    async fn accompany(
        &mut self,
        joined: Joined,
        outgoing: &mut Outgoing,
        caller: &mut Caller<ExecError>,
    ) -> End {
        let Joined {
            requests,
            mut responses,
            attached,
        } = joined;
        let (taking, taken) = watch::channel(taken(&attached));
        let events = caller.events.clone();
        tokio::select! {
            end = self.deliver(&mut responses, &events, &taking) => end,
            never = say(outgoing, caller, taken, &requests, message_of) => match never {},
            () = events.closed() => End::Dropped,
        }
    }

    async fn deliver(
        &mut self,
        responses: &mut Streaming<AttachExecResponse>,
        events: &mpsc::Sender<Event>,
        taking: &watch::Sender<Taken>,
    ) -> End {
        loop {
            let response = match responses.message().await {
                Ok(Some(message)) => message.response,
                Ok(None) => return End::Broken,
                Err(status) if is_broken(&status) => return End::Broken,
                Err(status) if status.code() == Code::Aborted => {
                    let id = self.id.clone();
                    return End::Failed(ExecError::TakenOver { id });
                }
                Err(status) => return End::Failed(self.agent.refusal(&status)),
            };
            if let Some(Response::Accepted(accepted)) = response {
                taking.send_replace(taken_of(accepted));
                continue;
            }
            match self.pass_on(response, events).await {
                Ok(None) => {}
                Ok(Some(end)) => return end,
                Err(SendError(_)) => return End::Dropped,
            }
        }
    }

    /// Tells the caller; answers the end if this is it.
    async fn pass_on(
        &mut self,
        response: Option<Response>,
        events: &mpsc::Sender<Event>,
    ) -> Result<Option<End>, SendError<Event>> {
        match response {
            Some(Response::Output(output)) if output.offset == self.offset => {
                let end = output.offset + output.bytes.len() as u64;
                let Some(event) = event(output) else {
                    return Ok(Some(self.confused("it names no stream of output")));
                };
                events.send(Ok(event)).await?;
                self.offset = end;
                Ok(None)
            }
            Some(Response::Truncated(gone)) if gone.from == self.offset && gone.from < gone.to => {
                let (from, to) = (gone.from, gone.to);
                events.send(Ok(ExecEvent::Truncated { from, to })).await?;
                self.offset = to;
                Ok(None)
            }
            Some(Response::Exit(exit)) => {
                let Some(exit) = exit_of(exit) else {
                    return Ok(Some(self.confused("its exit is none that Linux knows")));
                };
                events.send(Ok(ExecEvent::Exit(exit))).await?;
                Ok(Some(End::Exit))
            }
            _ => Ok(Some(self.confused("it sent a message out of order"))),
        }
    }

    fn confused(&self, problem: &str) -> End {
        End::Failed(self.agent.broken(problem))
    }

    /// Ends the session in the guest. One that cannot be told has its grace.
    async fn delete(&self) {
        let exec_id = self.id.to_string();
        let deleted = self.agent.call(DELETE_DEADLINE, |mut client| {
            let exec_id = exec_id.clone();
            async move { client.delete_exec(DeleteExecRequest { exec_id }).await }
        });
        if let Err(failure) = deleted.await {
            tracing::debug!(?failure, "a session was not ended");
        }
    }
}

async fn join(mut client: Client, attach: AttachExec) -> Result<Joined, Status> {
    let (requests, outgoing) = mpsc::channel(QUEUE);
    // the queue is empty and its reader in our hands: this never waits
    drop(requests.send(message(Request::Attach(attach))).await);
    let answered = client.attach_exec(ReceiverStream::new(outgoing)).await?;
    let mut responses = answered.into_inner();
    match responses.message().await? {
        Some(AttachExecResponse {
            response: Some(Response::Attached(attached)),
        }) => Ok(Joined {
            attached,
            requests,
            responses,
        }),
        Some(_) => Err(Status::internal("it did not say what it attached to")),
        None => Err(Status::unavailable("the session's stream ended at once")),
    }
}

fn event(output: ExecOutput) -> Option<ExecEvent> {
    match output.stream() {
        ExecStream::Stdout => Some(ExecEvent::Stdout(output.bytes)),
        ExecStream::Stderr => Some(ExecEvent::Stderr(output.bytes)),
        ExecStream::Unspecified => None,
    }
}

fn taken(attached: &ExecAttached) -> Taken {
    taken_of(attached.accepted.unwrap_or_default())
}

const fn taken_of(accepted: ExecAccepted) -> Taken {
    Taken {
        accepted: Accepted {
            stdin_offset: accepted.stdin_offset,
            signals: accepted.signals,
        },
        stdin_limit: accepted.stdin_limit,
    }
}

fn message_of(said: Said) -> AttachExecRequest {
    message(match said {
        Said::Stdin { offset, bytes } => Request::Input(ExecInput { offset, bytes }),
        Said::CloseStdin => Request::CloseStdin(CloseStdin {}),
        Said::Signal { number, ordinal } => Request::Signal(ExecSignal { number, ordinal }),
        Said::Resize(size) => Request::Resize(wire_size(size)),
        Said::Acknowledged(offset) => Request::Acknowledged(offset),
    })
}

const fn message(request: Request) -> AttachExecRequest {
    AttachExecRequest {
        request: Some(request),
    }
}
