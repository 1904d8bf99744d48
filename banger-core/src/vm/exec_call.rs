//! Running a command in a VM: one call through the monitor to the agent.
//!
//! Invariants: a session ends with exactly one exit or error; both its
//! channels are bounded; dropping it cancels the call, which ends the process.

use std::time::Duration;

use banger_proto::{
    MAX_EXEC_CHUNK, SPAWN_FAILURE_METADATA,
    guest::v1::{
        self as wire, agent_service_client::AgentServiceClient, exec_request::Request,
        exec_response::Response,
    },
};
use bytes::Bytes;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::{
    ExecControl, ExecError, ExecEvent, ExecExit, ExecRequest, ExecSession, SpawnFailure,
    TerminalSize,
    exec_command::exec_start,
    http2::{Http2Client, origin},
    in_words,
    monitor_call::reach,
    supervisor::Host,
};
use crate::domain::{Selector, Vm, VmName, VmState};

/// Messages that may wait in each direction.
const QUEUE: usize = 16;
/// How long a process may take to start: the guest may be slow and busy.
const START_DEADLINE: Duration = Duration::from_mins(1);
/// Most bytes of one message from the guest.
const MESSAGE_LIMIT: usize = 1 << 20;

/// Runs a command.
pub(super) async fn exec(
    host: &Host,
    selector: &Selector,
    request: ExecRequest,
) -> Result<ExecSession, ExecError> {
    let vm = host.find(selector).await?;
    if vm.state != VmState::Running {
        return Err(ExecError::NotRunning {
            name: vm.name,
            state: vm.state,
        });
    }
    let image = host.image(vm.image).await?;
    let start = exec_start(&image.run_config, request)?;
    let client = reach(&host.files(vm.id).socket(), &host.tasks).await;
    let client = client.map_err(|error| vm_lost(&vm.name, in_words(&error)))?;
    let call = Call {
        program: start.argv.first().map_or_else(String::new, |program| {
            String::from_utf8_lossy(program).into_owned()
        }),
        name: vm.name.clone(),
    };
    let starting = call.start(client, start);
    let (pid, requests, responses) = timeout(START_DEADLINE, starting)
        .await
        .unwrap_or_else(|_| Err(too_slow(&vm)))?;
    let (control, controls) = mpsc::channel(QUEUE);
    let (event_sender, events) = mpsc::channel(QUEUE);
    drop(host.tasks.spawn(async move {
        tokio::select! {
            () = event_sender.closed() => {}
            () = call.relay(responses, &event_sender) => {}
            () = feed(controls, requests) => {}
        }
    }));
    Ok(ExecSession {
        pid,
        control,
        events,
    })
}

fn too_slow(vm: &Vm) -> ExecError {
    ExecError::Agent {
        name: vm.name.clone(),
        problem: format!("the process did not start within {START_DEADLINE:?}"),
    }
}

/// Names for the errors of one call.
#[derive(Debug)]
struct Call {
    name: VmName,
    program: String,
}

type Started = (
    u32,
    mpsc::Sender<wire::ExecRequest>,
    Streaming<wire::ExecResponse>,
);

impl Call {
    /// Makes the call and waits until the process runs.
    async fn start(
        &self,
        client: Http2Client,
        start: wire::ExecStart,
    ) -> Result<Started, ExecError> {
        let (requests, outgoing) = mpsc::channel(QUEUE);
        // the queue is empty and its reader in our hands: this never waits
        drop(requests.send(message(Request::Start(start))).await);
        let mut agent = AgentServiceClient::with_origin(client, origin())
            .max_decoding_message_size(MESSAGE_LIMIT);
        let answered = agent.exec(ReceiverStream::new(outgoing)).await;
        let mut responses = answered.map_err(|status| self.error(&status))?.into_inner();
        let first = responses.message().await;
        match first.map_err(|status| self.error(&status))? {
            Some(wire::ExecResponse {
                response: Some(Response::Started(started)),
            }) => Ok((started.pid, requests, responses)),
            _ => Err(self.broken("it did not say that the process runs")),
        }
    }

    /// Passes output on until the exit or an error, or until nobody listens.
    async fn relay(
        &self,
        mut responses: Streaming<wire::ExecResponse>,
        events: &mpsc::Sender<Result<ExecEvent, ExecError>>,
    ) {
        loop {
            let event = match responses.message().await {
                Ok(Some(response)) => self.event(response),
                Ok(None) => Err(vm_lost(
                    &self.name,
                    "its output ended without an exit".to_owned(),
                )),
                Err(status) => Err(self.error(&status)),
            };
            let last = !matches!(event, Ok(ExecEvent::Stdout(_) | ExecEvent::Stderr(_)));
            if events.send(event).await.is_err() || last {
                return;
            }
        }
    }

    fn event(&self, response: wire::ExecResponse) -> Result<ExecEvent, ExecError> {
        match response.response {
            Some(Response::Stdout(bytes)) => Ok(ExecEvent::Stdout(bytes)),
            Some(Response::Stderr(bytes)) => Ok(ExecEvent::Stderr(bytes)),
            Some(Response::Exit(exit)) => exit_of(exit)
                .map(ExecEvent::Exit)
                .ok_or_else(|| self.broken("its exit is none that Linux knows")),
            Some(Response::Started(_)) | None => Err(self.broken("it sent a message out of order")),
        }
    }

    /// What a failed call means.
    fn error(&self, status: &Status) -> ExecError {
        if let Some(failure) = spawn_failure(status) {
            return ExecError::Spawn {
                program: self.program.clone(),
                failure,
                message: status.message().to_owned(),
            };
        }
        // a status with a cause was made on this side, of a broken connection
        let broken = std::error::Error::source(status).is_some();
        match status.code() {
            Code::Unavailable | Code::Cancelled => vm_lost(&self.name, status.message().to_owned()),
            _ if broken => vm_lost(&self.name, in_words(status)),
            _ => self.broken(status.message()),
        }
    }

    fn broken(&self, problem: &str) -> ExecError {
        ExecError::Agent {
            name: self.name.clone(),
            problem: problem.to_owned(),
        }
    }
}

fn vm_lost(name: &VmName, problem: String) -> ExecError {
    ExecError::VmLost {
        name: name.clone(),
        problem,
    }
}

fn spawn_failure(status: &Status) -> Option<SpawnFailure> {
    let value = status.metadata().get(SPAWN_FAILURE_METADATA)?;
    let number: i32 = value.to_str().ok()?.parse().ok()?;
    match wire::SpawnFailure::try_from(number).ok()? {
        wire::SpawnFailure::Unspecified => None,
        wire::SpawnFailure::NotFound => Some(SpawnFailure::NotFound),
        wire::SpawnFailure::NotExecutable => Some(SpawnFailure::NotExecutable),
        wire::SpawnFailure::BadWorkingDirectory => Some(SpawnFailure::BadWorkingDirectory),
        wire::SpawnFailure::UnknownUser => Some(SpawnFailure::UnknownUser),
        wire::SpawnFailure::InvalidRequest => Some(SpawnFailure::InvalidRequest),
        wire::SpawnFailure::Resources => Some(SpawnFailure::Resources),
    }
}

fn exit_of(exit: wire::ExecExit) -> Option<ExecExit> {
    use wire::exec_exit::Outcome;
    match exit.outcome? {
        Outcome::Code(code) => u8::try_from(code).ok().map(ExecExit::Code),
        Outcome::Signal(signal) => u8::try_from(signal).ok().map(ExecExit::Signal),
    }
}

/// Passes the caller's orders on. When the caller gives its end up, standard
/// input ends, and the call goes on: this future never ends by itself.
async fn feed(
    mut controls: mpsc::Receiver<ExecControl>,
    requests: mpsc::Sender<wire::ExecRequest>,
) {
    let mut open = true;
    while let Some(control) = controls.recv().await {
        open &= control != ExecControl::CloseStdin;
        for request in requests_of(control) {
            // a closed queue means that the call ended
            drop(requests.send(message(request)).await);
        }
    }
    if open {
        drop(
            requests
                .send(message(Request::CloseStdin(wire::CloseStdin {})))
                .await,
        );
    }
    std::future::pending::<()>().await;
}

fn requests_of(control: ExecControl) -> Vec<Request> {
    match control {
        ExecControl::Stdin(bytes) => chunks(&bytes),
        ExecControl::CloseStdin => vec![Request::CloseStdin(wire::CloseStdin {})],
        ExecControl::Signal(signal) => vec![Request::Signal(signal)],
        ExecControl::Resize(size) => vec![Request::Resize(wire_size(size))],
    }
}

fn chunks(bytes: &Bytes) -> Vec<Request> {
    let chunks = bytes.chunks(MAX_EXEC_CHUNK);
    chunks
        .map(|chunk| Request::Stdin(bytes.slice_ref(chunk)))
        .collect()
}

pub(super) fn wire_size(size: TerminalSize) -> wire::TerminalSize {
    wire::TerminalSize {
        rows: size.rows.into(),
        columns: size.columns.into(),
    }
}

const fn message(request: Request) -> wire::ExecRequest {
    wire::ExecRequest {
        request: Some(request),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> Call {
        Call {
            name: "box".parse().unwrap(),
            program: "prog".to_owned(),
        }
    }

    #[test]
    fn input_of_any_length_is_cut_into_chunks() {
        for (length, expected) in [(0, 0), (1, 1), (MAX_EXEC_CHUNK, 1), (MAX_EXEC_CHUNK + 1, 2)] {
            let control = ExecControl::Stdin(vec![7; length].into());
            assert_eq!(requests_of(control).len(), expected, "{length}");
        }
    }

    #[test]
    fn spawn_failures_are_told_from_lost_vms_and_broken_agents() {
        let mut spawn = Status::not_found("no such program");
        let number = wire::SpawnFailure::NotFound as i32;
        spawn
            .metadata_mut()
            .insert(SPAWN_FAILURE_METADATA, number.into());
        assert!(matches!(
            call().error(&spawn),
            ExecError::Spawn { failure: SpawnFailure::NotFound, program, .. } if program == "prog"
        ));
        let lost = call().error(&Status::unavailable("gone"));
        assert!(matches!(lost, ExecError::VmLost { .. }));
        let broken = call().error(&Status::internal("confused"));
        assert!(matches!(broken, ExecError::Agent { .. }));
    }

    #[test]
    fn exits_outside_linux_are_refused() {
        use wire::exec_exit::Outcome;
        let exit = |outcome| exit_of(wire::ExecExit { outcome });
        assert_eq!(exit(Some(Outcome::Code(127))), Some(ExecExit::Code(127)));
        assert_eq!(exit(Some(Outcome::Signal(9))), Some(ExecExit::Signal(9)));
        assert_eq!(exit(Some(Outcome::Code(256))), None);
        assert_eq!(exit(None), None);
    }
}
