//! One process with its client, from start to exit.

use banger_proto::guest::v1::{
    ExecExit, ExecRequest, ExecResponse, ExecStarted, exec_response::Response,
};
use tokio::sync::oneshot;
use tonic::Streaming;

use super::{
    failure::SpawnError,
    input::{Controls, Loss},
    output::{Output, Responses},
    process::Process,
    request::Command,
    stdio::{self, Stdio},
};

/// The client's side of an exec.
#[derive(Debug)]
pub(super) struct Session {
    requests: Streaming<ExecRequest>,
    responses: Responses,
}

impl Session {
    pub(super) fn new(requests: Streaming<ExecRequest>, responses: Responses) -> Self {
        Self {
            requests,
            responses,
        }
    }

    /// Starts the process, tells `started`, and stays with it to its end.
    /// Not to be cancelled while the machine is to live on.
    pub(super) async fn run(
        self,
        command: Command,
        started: oneshot::Sender<Result<(), SpawnError>>,
    ) {
        let (process, stdio) = match start(&command).await {
            Ok(running) => running,
            // without a client there is nobody to tell
            Err(failure) => return drop(started.send(Err(failure))),
        };
        if started.send(Ok(())).is_ok() {
            self.accompany(&process, stdio).await;
        } else {
            process.end().await;
        }
    }

    async fn accompany(mut self, process: &Process, stdio: Stdio) {
        let mut output = Output::new(&stdio);
        let controls = Controls {
            process,
            terminal: stdio.terminal,
        };
        let responses = &self.responses;
        let loss = tokio::select! {
            () = conclude(process, &mut output, responses) => return,
            loss = controls.follow(&mut self.requests, stdio.input) => loss,
            () = responses.closed() => Loss::Gone,
        };
        process.end().await;
        if let Loss::Misuse(misuse) = loss {
            // a full queue with a client that broke the rules: it gets no reason
            drop(responses.try_send(Err(misuse.into())));
        }
    }
}

async fn start(command: &Command) -> Result<(Process, Stdio), SpawnError> {
    let (stdio, streams) = stdio::open(command.terminal, &command.plan.identity)
        .map_err(SpawnError::resources("make the standard streams"))?;
    Ok((Process::start(command, streams).await?, stdio))
}

/// Tells the start, all output and the exit, in this order.
async fn conclude(process: &Process, output: &mut Output, responses: &Responses) {
    let pid = process.id();
    send(responses, Response::Started(ExecStarted { pid })).await;
    let both_ended = tokio::select! {
        () = process.ended() => false,
        () = output.carry(responses) => true,
    };
    if both_ended {
        process.ended().await;
    }
    let exit: ExecExit = process.reap();
    output.finish(responses).await;
    send(responses, Response::Exit(exit)).await;
}

async fn send(responses: &Responses, response: Response) {
    let response = Some(response);
    // a client that is gone is noticed by the session
    drop(responses.send(Ok(ExecResponse { response })).await);
}
