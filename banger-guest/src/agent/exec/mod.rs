//! Running processes for the host, as sessions.
//!
//! Purpose: start a process, keep its streams and its end for clients that come
//! and go, and end it on the terms of its request. Invariants: a process leads
//! its own session and process group and is always reaped; what it wrote is kept
//! in a bounded ring with offsets, so that a client which joins again loses
//! nothing; standard input is read once, however often it is sent; a client
//! hears exactly one exit, after all output; every queue is bounded.
//! Entry points: [`Sessions`], [`attach`].
//!
//! `terms` and `request` check what was asked (pure, with `accounts` for the
//! user), `stdio` makes pipes or a terminal, `process` starts and reaps.
//! `session` stays with a process to its end: `output` carries what it writes
//! into the `ring`, `input` is what it is to read, `state` what its clients see.
//! `attachment` is one client, `sessions` all sessions.

pub(crate) mod accounts;
mod attachment;
mod failure;
mod input;
mod memory;
mod output;
mod process;
mod request;
mod ring;
mod session;
mod sessions;
mod state;
mod stdio;
mod terms;

use banger_proto::guest::v1::{AttachExecRequest, AttachExecResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::TaskTracker;
use tonic::{Status, Streaming};

pub(crate) use sessions::Sessions;

/// Messages on their way to a client, each of at most 64 KiB.
const RESPONSES: usize = 6;

/// What an attached client is told.
pub(crate) type Responses = ReceiverStream<Result<AttachExecResponse, Status>>;

/// Attaches a client to the session it names. Serving it is a task of `calls`;
/// dropping the responses ends it.
pub(crate) async fn attach(
    sessions: &Sessions,
    mut requests: Streaming<AttachExecRequest>,
    calls: &TaskTracker,
) -> Result<Responses, Status> {
    let wanted = attachment::first_message(&mut requests).await?;
    let session = sessions.find(&wanted.exec_id).await?;
    let number = session.join(wanted.from_offset);
    let number = number.ok_or_else(|| Status::out_of_range("the output is not that long"))?;
    let client = attachment::Client {
        session,
        number,
        offset: wanted.from_offset,
    };
    let (responses, receiver) = mpsc::channel(RESPONSES);
    calls.spawn(client.serve(requests, responses));
    Ok(ReceiverStream::new(receiver))
}
