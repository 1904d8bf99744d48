//! Running processes for the host.
//!
//! Purpose: one call of `AgentService.Exec`: check the request, start the
//! process, carry its streams, tell how it ended. Invariants: a process leads
//! its own session and process group; all its output precedes the exit message;
//! every queue is bounded, so a slow side slows the other; a process whose
//! client is lost is ended with its group, and is always reaped.
//! Entry point: [`begin`].
//!
//! The path of one call: `request` checks what was asked (pure, with
//! `accounts` for the user), `stdio` makes pipes or a terminal, `process`
//! starts and reaps, `session` joins them, with `input` for what the client
//! sends and `output` for what the process writes.

pub(crate) mod accounts;
mod failure;
mod input;
mod output;
mod process;
mod request;
mod session;
mod stdio;

use std::time::Duration;

use banger_proto::guest::v1::{ExecRequest, ExecResponse, ExecStart, exec_request::Request};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::TaskTracker;
use tonic::{Status, Streaming};

use accounts::Accounts;
pub(crate) use failure::SpawnError;
use session::Session;

/// How long a client may take to say what to run.
const FIRST_MESSAGE_PATIENCE: Duration = Duration::from_secs(30);

/// Messages on their way to a client, each of at most 64 KiB. Each of the two
/// output streams holds one place while it waits for data.
const RESPONSES: usize = 6;

/// What a call answers with.
pub(crate) type Responses = ReceiverStream<Result<ExecResponse, Status>>;

/// Starts what the client asks for. The process belongs to a task of `tasks`:
/// dropping this future or the responses ends it.
pub(crate) async fn begin(
    mut requests: Streaming<ExecRequest>,
    tasks: &TaskTracker,
) -> Result<Responses, SpawnError> {
    let start = first_message(&mut requests).await?;
    let command = request::Command::parse(start, &Accounts::of_machine())?;
    let (responses, receiver) = mpsc::channel(RESPONSES);
    let (started, outcome) = oneshot::channel();
    let session = Session::new(requests, responses);
    tasks.spawn(session.run(command, started));
    match outcome.await {
        Ok(Ok(())) => Ok(ReceiverStream::new(receiver)),
        Ok(Err(failure)) => Err(failure),
        Err(_) => Err(SpawnError::Resources {
            action: "keep the process's task",
            source: std::io::ErrorKind::Interrupted.into(),
        }),
    }
}

async fn first_message(requests: &mut Streaming<ExecRequest>) -> Result<ExecStart, SpawnError> {
    let message = tokio::time::timeout(FIRST_MESSAGE_PATIENCE, requests.message()).await;
    match message {
        Ok(Ok(Some(ExecRequest {
            request: Some(Request::Start(start)),
        }))) => Ok(start),
        Ok(Ok(_)) => Err(SpawnError::invalid("the first message is not `start`")),
        Ok(Err(_)) => Err(SpawnError::invalid("the first message cannot be read")),
        Err(_) => Err(SpawnError::invalid("the first message did not come")),
    }
}
