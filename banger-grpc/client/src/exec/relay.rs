//! A client's side of a command, over as many connections as it takes.

use std::time::Duration;

use banger_api::v1::{
    Accepted, Attach, AttachExecRequest, AttachExecResponse, Attached, CloseStdin, Output,
    OutputStream, Stdin, TerminalSize as WireSize, attach_exec_request::Message,
    attach_exec_response::Message as Told, exit::Kind,
};
use banger_core::vm::{
    self, ExecEvent, ExecExit, TerminalSize,
    exec_caller::{Caller, Ends, Limits, Outgoing, Said, Taken, say},
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::{Client, Failure, retry};

/// Messages that may wait in each direction.
const QUEUE: usize = 2;
/// What a server takes. It holds more input than is kept here, so that input never keeps
/// it from hearing anything else; it lets each piece of output wait for its word.
const LIMITS: Limits = Limits {
    input: 128 << 10,
    piece: 65_536,
    acknowledged: 1,
};
/// The pause before a new connection when the last one brought nothing; each is twice
/// the one before.
const PAUSE: Duration = Duration::from_millis(20);
/// How often it is doubled.
const DOUBLED: u32 = 6;

/// A command, and where this client is in it.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) client: Client,
    /// `vms/UID/execs/ID`.
    pub(crate) name: String,
    /// The client has all output below.
    pub(crate) offset: u64,
    /// The command is ended and forgotten when it is over or nobody listens.
    pub(crate) delete_at_end: bool,
}

/// A connection to a command.
#[derive(Debug)]
struct Joined {
    attached: Attached,
    responses: Streaming<AttachExecResponse>,
    requests: mpsc::Sender<AttachExecRequest>,
}

/// How a connection ended.
#[derive(Debug)]
enum End {
    /// The caller got the exit.
    Exit,
    /// The caller let go.
    Dropped,
    /// The connection broke, or the server went away.
    Broken(Failure),
    /// The command cannot be accompanied any longer.
    Failed(Failure),
}

impl Relay {
    /// Attaches; what is answered last passes everything on, until the end.
    pub(crate) async fn start<E, F>(
        self,
        failed: F,
    ) -> Result<(Attached, Ends<E>, impl Future<Output = ()> + Send), Failure>
    where
        E: Send + 'static,
        F: Fn(Failure) -> E + Send + 'static,
    {
        let joined = self.join(self.client.deadline()).await?;
        let (caller, ends) = Caller::new(QUEUE, self.offset, taken(&joined.attached).accepted);
        Ok((joined.attached, ends, self.run(joined, caller, failed)))
    }

    async fn run<E, F>(mut self, mut joined: Joined, mut caller: Caller<E>, failed: F)
    where
        E: Send,
        F: Fn(Failure) -> E + Send,
    {
        let mut outgoing = Outgoing::new(LIMITS, taken(&joined.attached), false, self.offset);
        let (mut fruitless, mut deadline) = (0_u32, self.client.deadline());
        loop {
            let before = (self.offset, *caller.accepted.borrow());
            let broken = match self.accompany(joined, &mut outgoing, &mut caller).await {
                End::Broken(failure) => failure,
                // what the caller was told of is not done with until it lets go
                End::Exit => break caller.events.closed().await,
                End::Dropped => break,
                End::Failed(failure) => return fail(&caller, failed(failure)).await,
            };
            if before == (self.offset, *caller.accepted.borrow()) {
                fruitless = (fruitless + 1).min(DOUBLED);
            } else {
                (fruitless, deadline) = (0, self.client.deadline());
            }
            if deadline < Instant::now() {
                let failure = Failure::out_of_time(Some(broken));
                return fail(&caller, failed(failure)).await;
            }
            let again = tokio::select! {
                again = self.join_again(fruitless, deadline) => again,
                () = caller.events.closed() => break,
            };
            joined = match again {
                Ok(again) => again,
                Err(failure) => return fail(&caller, failed(failure)).await,
            };
            let taken = taken(&joined.attached);
            outgoing.resume(taken, false, self.offset);
            caller.accepted.send_replace(taken.accepted);
        }
        if self.delete_at_end {
            // one that cannot be told has its grace
            drop(self.client.delete_exec(&self.name).await);
        }
    }

    async fn join_again(&self, fruitless: u32, deadline: Instant) -> Result<Joined, Failure> {
        if let Some(doubled) = fruitless.checked_sub(1) {
            sleep(PAUSE * 2_u32.pow(doubled)).await;
        }
        self.join(deadline).await
    }

    async fn join(&self, deadline: Instant) -> Result<Joined, Failure> {
        let joined = retry::until(deadline, || {
            let attach = Attach {
                name: self.name.clone(),
                from_offset: self.offset,
                acknowledges: true,
                follows_input: true,
            };
            join(self.client.clone(), attach)
        });
        joined.await
    }

    /// Passes everything on while the connection lasts.
    async fn accompany<E: Send>(
        &mut self,
        joined: Joined,
        outgoing: &mut Outgoing,
        caller: &mut Caller<E>,
    ) -> End {
        let Joined {
            attached,
            mut responses,
            requests,
        } = joined;
        let (taking, taken) = watch::channel(taken(&attached));
        let events = caller.events.clone();
        tokio::select! {
            end = self.deliver(&mut responses, &events, &taking) => end,
            never = say(outgoing, caller, taken, &requests, message_of) => match never {},
            () = events.closed() => End::Dropped,
        }
    }

    async fn deliver<E>(
        &mut self,
        responses: &mut Streaming<AttachExecResponse>,
        events: &mpsc::Sender<Result<ExecEvent, E>>,
        taking: &watch::Sender<Taken>,
    ) -> End {
        loop {
            let message = match responses.message().await {
                Ok(Some(response)) => response.message,
                Ok(None) => return End::Broken(Failure::cut()),
                Err(status) => {
                    let failure = Failure::from(status);
                    return if failure.is_retryable() {
                        End::Broken(failure)
                    } else {
                        End::Failed(failure)
                    };
                }
            };
            let event = match self.event(message) {
                Ok(Heard::Accepted(accepted)) => {
                    taking.send_replace(taken_of(accepted));
                    continue;
                }
                Ok(Heard::Event(event)) => event,
                Err(problem) => return End::Failed(Failure::confused(&self.name, problem)),
            };
            let is_exit = matches!(event, ExecEvent::Exit(_));
            let end = self.end_of(&event);
            if events.send(Ok(event)).await.is_err() {
                return End::Dropped;
            }
            self.offset = end;
            if is_exit {
                return End::Exit;
            }
        }
    }

    /// The offset after an event.
    const fn end_of(&self, event: &ExecEvent) -> u64 {
        match event {
            ExecEvent::Stdout(bytes) | ExecEvent::Stderr(bytes) => self.offset + bytes.len() as u64,
            ExecEvent::Truncated { to, .. } => *to,
            ExecEvent::Exit(_) => self.offset,
        }
    }

    fn event(&self, message: Option<Told>) -> Result<Heard, &'static str> {
        const DISORDER: &str = "it sent a message out of order";
        Ok(Heard::Event(match message {
            Some(Told::Accepted(accepted)) => return Ok(Heard::Accepted(accepted)),
            Some(Told::Output(output)) if output.offset == self.offset => output_of(output)?,
            Some(Told::Truncated(gone)) if gone.from == self.offset && gone.from < gone.to => {
                let (from, to) = (gone.from, gone.to);
                ExecEvent::Truncated { from, to }
            }
            Some(Told::Exit(exit)) => ExecEvent::Exit(exit_of(exit).ok_or("its exit is none")?),
            _ => return Err(DISORDER),
        }))
    }
}

/// What a message says.
enum Heard {
    Accepted(Accepted),
    Event(ExecEvent),
}

async fn fail<E>(caller: &Caller<E>, error: E) {
    // nobody may listen any more
    drop(caller.events.send(Err(error)).await);
}

async fn join(client: Client, attach: Attach) -> Result<Joined, Status> {
    let (requests, outgoing) = mpsc::channel(QUEUE);
    // the queue is empty and its reader in our hands: this never waits
    drop(requests.send(message(Message::Attach(attach))).await);
    let mut execs = client.execs();
    let answered = execs.attach_exec(ReceiverStream::new(outgoing)).await?;
    let mut responses = answered.into_inner();
    let first = responses.message().await?;
    match first.and_then(|first| first.message) {
        Some(Told::Attached(attached)) => Ok(Joined {
            attached,
            responses,
            requests,
        }),
        _ => Err(Status::unavailable("the stream ended at once")),
    }
}

const fn message(message: Message) -> AttachExecRequest {
    AttachExecRequest {
        message: Some(message),
    }
}

fn message_of(said: Said) -> AttachExecRequest {
    message(match said {
        Said::Stdin { offset, bytes } => Message::Stdin(Stdin {
            offset,
            data: bytes,
        }),
        Said::CloseStdin => Message::CloseStdin(CloseStdin {}),
        Said::Signal { number, .. } => Message::Signal(number),
        Said::Resize(size) => Message::Resize(wire_size(size)),
        Said::Acknowledged(offset) => Message::Acknowledge(offset),
    })
}

pub(crate) fn wire_size(size: TerminalSize) -> WireSize {
    WireSize {
        rows: size.rows.into(),
        columns: size.columns.into(),
    }
}

const fn taken(attached: &Attached) -> Taken {
    taken_of(Accepted {
        stdin_offset: attached.stdin_offset,
        signals: attached.signals,
    })
}

/// The server grants nothing: it takes what it has room for.
const fn taken_of(accepted: Accepted) -> Taken {
    Taken {
        accepted: vm::Accepted {
            stdin_offset: accepted.stdin_offset,
            signals: accepted.signals,
        },
        stdin_limit: u64::MAX,
    }
}

fn output_of(output: Output) -> Result<ExecEvent, &'static str> {
    match output.stream() {
        OutputStream::Stdout => Ok(ExecEvent::Stdout(output.data)),
        OutputStream::Stderr => Ok(ExecEvent::Stderr(output.data)),
        OutputStream::Unspecified => Err("it names no stream of output"),
    }
}

/// How a command ended; none when Linux knows no such end.
pub(crate) fn exit_of(exit: banger_api::v1::Exit) -> Option<ExecExit> {
    match exit.kind? {
        Kind::Code(code) => u8::try_from(code).ok().map(ExecExit::Code),
        Kind::Signal(signal) => u8::try_from(signal).ok().map(ExecExit::Signal),
        Kind::TimedOut(_) => Some(ExecExit::TimedOut),
        Kind::OutOfMemory(_) => Some(ExecExit::OutOfMemory),
    }
}
