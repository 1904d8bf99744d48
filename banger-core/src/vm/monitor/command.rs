//! The command that a machine exists for: a session of the agent.
//!
//! Invariants: its output goes to the console's log, and is never taken for the
//! guest's own words; a client that joins its session is given way to, and
//! taken over from when the command is asked to stop; its end is known once,
//! and only from the agent.
//! Entry points: [`start`], [`RunningCommand`].

use std::{sync::PoisonError, time::Duration};

use banger_proto::guest::v1::{
    self as wire, agent_service_client::AgentServiceClient, attach_exec_request::Request,
    attach_exec_response::Response, exec_exit::Outcome,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Code, Status};

use super::{console_log::SharedLog, console_watch::Fault, guest_link::LinkChanges};
use crate::{
    domain::CommandEnd,
    vm::{
        BootFailure,
        exec_wire::spawn_failure,
        http2::{Http2Client, origin},
        purpose::MachineCommand,
        stop_signal,
    },
};

/// The name of its session.
pub(super) const SESSION: &str = "entrypoint";
/// How long a process may take to start: the guest may be slow and busy.
const START_DEADLINE: Duration = Duration::from_mins(1);
/// Between two looks at a session that somebody else joined.
const PAUSE: Duration = Duration::from_secs(1);
/// Messages that may wait for the guest.
const QUEUE: usize = 16;
/// Most bytes of one message from the guest.
const MESSAGE_LIMIT: usize = 1 << 20;
/// The signal that ends what the kernel kills for want of memory.
const KILLED: u8 = 9;
/// The stage of a boot at which the command is started.
const STAGE: &str = "command";

/// A command that runs, or has ended.
#[derive(Debug)]
pub(super) struct RunningCommand {
    stops: mpsc::Sender<u32>,
    stop_signal: u32,
    /// Closed without an answer when the agent is gone.
    end: oneshot::Receiver<CommandEnd>,
    known: Option<CommandEnd>,
}

/// What a command needs of its monitor.
#[derive(Debug)]
pub(super) struct Context<'a> {
    /// Where its output goes.
    pub(super) log: SharedLog,
    /// Tells of new ways to the agent.
    pub(super) links: LinkChanges,
    /// Owns what follows it.
    pub(super) tracker: &'a TaskTracker,
    /// Ends that.
    pub(super) closing: CancellationToken,
}

/// Starts the command, or joins it where the machine went on with it; answers
/// once it runs.
pub(super) async fn start(
    guest: Http2Client,
    command: &MachineCommand,
    context: Context<'_>,
) -> Result<RunningCommand, Fault> {
    let mut agent = agent(guest);
    let creating = agent.create_exec(create_request(command));
    let created = timeout(START_DEADLINE, creating).await.unwrap_or_else(|_| {
        let problem = format!("the command did not start within {START_DEADLINE:?}");
        Err(Status::deadline_exceeded(problem))
    });
    created.map_err(|status| fault(&status))?;
    let (stops, wanted_stops) = mpsc::channel(QUEUE);
    let (ended, end) = oneshot::channel();
    let follower = Follower {
        agent,
        log: context.log,
        links: context.links,
        stops: wanted_stops,
        signal: None,
        offset: 0,
    };
    let closing = context.closing;
    drop(context.tracker.spawn(async move {
        let end = closing.run_until_cancelled(follower.follow()).await;
        if let Some(end) = end.flatten() {
            // nobody waits for it any more when the machine is gone
            ended.send(end).ok();
        }
    }));
    Ok(RunningCommand {
        stops,
        stop_signal: command.stop_signal,
        end,
        known: None,
    })
}

fn agent(guest: Http2Client) -> AgentServiceClient<Http2Client> {
    AgentServiceClient::with_origin(guest, origin()).max_decoding_message_size(MESSAGE_LIMIT)
}

fn create_request(command: &MachineCommand) -> wire::CreateExecRequest {
    let bytes = |texts: &[String]| texts.iter().cloned().map(Into::into).collect();
    wire::CreateExecRequest {
        exec_id: SESSION.to_owned(),
        start: Some(wire::ExecStart {
            argv: bytes(&command.argv),
            env: bytes(&command.env),
            working_directory: command.working_directory.clone().into(),
            user: command.user.clone(),
            ..wire::ExecStart::default()
        }),
        on_full: wire::OnFull::DropOldest.into(),
        when_detached: wire::WhenDetached::Keep.into(),
        without_stdin: true,
        ..wire::CreateExecRequest::default()
    }
}

fn fault(status: &Status) -> Fault {
    Fault {
        failure: spawn_failure(status).map_or(BootFailure::Other, BootFailure::of_spawn),
        stage: STAGE.to_owned(),
        cause: status.message().to_owned(),
    }
}

/// Follows the session to its end.
struct Follower {
    agent: AgentServiceClient<Http2Client>,
    log: SharedLog,
    links: LinkChanges,
    /// Signals that the command is to get.
    stops: mpsc::Receiver<u32>,
    /// The one of these that was not sent yet.
    signal: Option<u32>,
    /// Where the output goes on.
    offset: u64,
}

/// Why a session is not followed any more.
enum Left {
    /// It ended, or is gone.
    Ended(Option<CommandEnd>),
    /// Another client joined.
    Displaced,
    /// The agent cannot be reached.
    Broken,
}

impl Follower {
    async fn follow(mut self) -> Option<CommandEnd> {
        loop {
            let left = match self.attend().await {
                Left::Displaced => self.give_way().await,
                left => Err(left),
            };
            match left {
                Ok(()) | Err(Left::Displaced) => {}
                Err(Left::Ended(end)) => return end,
                Err(Left::Broken) => self.agent = agent(self.links.next().await),
            }
        }
    }

    /// Waits until nobody else is there, or a signal is to be sent.
    async fn give_way(&mut self) -> Result<(), Left> {
        while self.signal.is_none() {
            tokio::select! {
                Some(signal) = self.stops.recv() => self.signal = Some(signal),
                () = sleep(PAUSE) => {}
            }
            let listed = self.agent.list_execs(wire::ListExecsRequest {}).await;
            let sessions = listed.map_err(|_| Left::Broken)?.into_inner().execs;
            let session = sessions.into_iter().find(|exec| exec.exec_id == SESSION);
            if !session.ok_or(Left::Ended(None))?.attached {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Joins the session, and stays with it.
    async fn attend(&mut self) -> Left {
        let (requests, outgoing) = mpsc::channel(QUEUE);
        let attach = wire::AttachExec {
            exec_id: SESSION.to_owned(),
            from_offset: self.offset,
        };
        // the queue is empty and its reader in our hands: this never waits
        drop(requests.send(message(Request::Attach(attach))).await);
        let mut responses = match self.agent.attach_exec(ReceiverStream::new(outgoing)).await {
            Ok(responses) => responses.into_inner(),
            Err(status) => return left(&status),
        };
        let mut ordinal = None;
        loop {
            if let (Some(number), Some(next)) = (self.signal, ordinal) {
                let signal = wire::ExecSignal {
                    number,
                    ordinal: next,
                };
                drop(requests.send(message(Request::Signal(signal))).await);
                (self.signal, ordinal) = (None, Some(next + 1));
            }
            let response = tokio::select! {
                response = responses.message() => response,
                Some(signal) = self.stops.recv(), if self.signal.is_none() => {
                    self.signal = Some(signal);
                    continue;
                }
            };
            match response.map(|message| message.and_then(|message| message.response)) {
                Ok(Some(Response::Attached(attached))) => {
                    ordinal = Some(attached.accepted.map_or(0, |accepted| accepted.signals));
                }
                Ok(Some(Response::Output(output))) => {
                    self.write(&output);
                    let safe = Request::Acknowledged(self.offset);
                    drop(requests.send(message(safe)).await);
                }
                Ok(Some(Response::Truncated(lost))) => self.offset = lost.to,
                Ok(Some(Response::Accepted(_))) => {}
                Ok(Some(Response::Exit(exit))) => return Left::Ended(end_of(exit)),
                Ok(None) => return Left::Broken,
                Err(status) => return left(&status),
            }
        }
    }

    fn write(&mut self, output: &wire::ExecOutput) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        // a full disk must not stop the command
        if let Err(error) = log.write(&output.bytes) {
            tracing::warn!(%error, "output of the command is lost");
        }
        self.offset = output.offset.saturating_add(output.bytes.len() as u64);
    }
}

fn left(status: &Status) -> Left {
    match status.code() {
        Code::Aborted => Left::Displaced,
        Code::NotFound => Left::Ended(None),
        _ => Left::Broken,
    }
}

const fn message(request: Request) -> wire::AttachExecRequest {
    wire::AttachExecRequest {
        request: Some(request),
    }
}

/// None for an end that Linux does not know.
fn end_of(exit: wire::ExecExit) -> Option<CommandEnd> {
    match exit.outcome? {
        Outcome::Code(code) => u8::try_from(code).ok().map(CommandEnd::Code),
        Outcome::Signal(signal) => u8::try_from(signal).ok().map(CommandEnd::Signal),
        Outcome::OutOfMemory(_) => Some(CommandEnd::Signal(KILLED)),
        Outcome::TimedOut(_) => None,
    }
}

impl RunningCommand {
    /// Waits for the end of the command; without an agent that could tell it,
    /// for ever. May be cancelled.
    pub(super) async fn ended(&mut self) -> CommandEnd {
        if let Some(end) = self.known {
            return end;
        }
        match (&mut self.end).await {
            Ok(end) => {
                self.known = Some(end);
                end
            }
            Err(_) => std::future::pending().await,
        }
    }

    /// How it ended, if it has.
    pub(super) fn end(&mut self) -> Option<CommandEnd> {
        self.known = self.known.or_else(|| self.end.try_recv().ok());
        self.known
    }

    /// Sends the signal that asks it to stop.
    pub(super) async fn ask_to_stop(&self) {
        // a closed queue means that it has ended
        self.stops.send(self.stop_signal).await.ok();
    }

    /// The name of that signal.
    pub(super) fn stop_signal(&self) -> String {
        stop_signal::name(self.stop_signal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_outside_linux_are_none() {
        let end = |outcome| end_of(wire::ExecExit { outcome });
        assert_eq!(end(Some(Outcome::Code(3))), Some(CommandEnd::Code(3)));
        assert_eq!(end(Some(Outcome::Signal(9))), Some(CommandEnd::Signal(9)));
        assert_eq!(end(Some(Outcome::Code(256))), None);
        assert_eq!(end(None), None);
    }

    #[tokio::test]
    async fn an_end_is_known_from_then_on() {
        let (stops, _wanted) = mpsc::channel(QUEUE);
        let (ended, end) = oneshot::channel();
        let mut command = RunningCommand {
            stops,
            stop_signal: 15,
            end,
            known: None,
        };
        assert_eq!(command.end(), None);
        ended.send(CommandEnd::Code(7)).unwrap();
        assert_eq!(command.ended().await, CommandEnd::Code(7));
        assert_eq!(command.ended().await, CommandEnd::Code(7));
        assert_eq!(command.end(), Some(CommandEnd::Code(7)));
    }
}
