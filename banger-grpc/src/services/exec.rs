//! `ExecService`.
//!
//! Invariants: nothing is kept here of what a command writes: the next piece is
//! taken from the guest when the client takes one, so that a client that stops
//! reading holds up its command and costs one piece. Input goes to the guest once
//! and in order, whatever is sent again.

use std::pin::Pin;

use banger_api::v1::{
    Accepted, Attach, AttachExecRequest, AttachExecResponse, Attached, CreateExecRequest,
    CreateExecResponse, DeleteExecRequest, DeleteExecResponse, ErrorReason, ListExecsRequest,
    ListExecsResponse, PhaseKind, Stdin, attach_exec_request::Message as Sent,
    attach_exec_response::Message as Told, exec_service_server::ExecService,
};
use banger_core::{
    domain::Selector,
    vm::{self as core, ExecControl, ExecError, ExecEvent, ExecEvents, ExecId, ExecSession},
};
use futures_util::{Stream, future::BoxFuture, stream};
use tokio::sync::{mpsc, watch};
use tonic::{Request, Response, Status, Streaming};

use super::{first::first_message, vm};
use crate::{
    backend::Front,
    convert::exec::{exec, exec_request, output, terminal_size},
    fault::Fault,
    operations::Receipt,
    request::{Checks, caller, name::VMS},
};

/// Most bytes of input in one message.
const MAX_INPUT: usize = 65_536;
/// The highest number of a signal (signal(7)).
const MAX_SIGNAL: u32 = 64;

/// Over the core's machines.
#[derive(Debug)]
pub(crate) struct Execs(pub(crate) Front);

/// The machine and the command in `vms/UID/execs/ID`.
fn exec_name(name: &str, checks: &mut Checks) -> Option<(String, ExecId)> {
    let id = VMS.id("name", name, checks)?;
    let Some((vm, exec)) = id.split_once("/execs/") else {
        checks.violated("name", "is not vms/UID/execs/ID");
        return None;
    };
    let exec = checks.parse("name", exec)?;
    Some((vm.to_owned(), exec))
}

impl Execs {
    async fn create(
        &self,
        request: Request<CreateExecRequest>,
    ) -> Result<CreateExecResponse, Fault> {
        let (hub, _acting) = self.0.acting()?;
        let (caller, request) = (caller(&request), request.into_inner());
        let mut checks = Checks::default();
        checks.request_id(&request.request_id);
        let vm = VMS.id("vm", &request.vm, &mut checks).map(str::to_owned);
        let wanted = exec_request(request, &mut checks);
        checks.finish()?;
        let receipt = Receipt::default();
        let resolving = receipt.begin(PhaseKind::Resolve);
        let vm = vm::find(hub, &caller, &vm.unwrap_or_default()).await?;
        drop(resolving);
        let selector = Selector::from(vm.id.to_string().as_str());
        let starting = receipt.begin(PhaseKind::Exec);
        let session = match hub.backend.vms.exec(&selector, wanted).await {
            Err(error @ ExecError::IdTaken { .. }) => {
                return Err(Fault::from(error).with_reason(ErrorReason::RequestIdReused));
            }
            started => started?,
        };
        drop(starting);
        // it goes on without this call, for its grace at least: whoever wants it attaches
        session.leaving.detach();
        Ok(CreateExecResponse {
            name: format!("{}/execs/{}", VMS.name(vm.id), session.id),
            pid: session.pid,
            phases: receipt.phases(),
        })
    }

    async fn attach(
        &self,
        request: Request<Streaming<AttachExecRequest>>,
    ) -> Result<Attachment, Fault> {
        let hub = self.0.reading()?;
        let (caller, mut sent) = (caller(&request), request.into_inner());
        let first = first_message(&mut sent).await;
        let Some(Sent::Attach(attach)) = first.and_then(|first| first.message) else {
            return Err(out_of_place("the first message is no Attach"));
        };
        let mut checks = Checks::default();
        let name = exec_name(&attach.name, &mut checks);
        checks.finish()?;
        let Some((vm, exec)) = name else {
            return Err(Fault::invalid(Vec::new()));
        };
        let vm = vm::find(hub, &caller, &vm).await?.id.to_string();
        let selector = Selector::from(vm.as_str());
        let attaching = hub
            .backend
            .vms
            .attach_exec(&selector, &exec, attach.from_offset);
        Ok(Attachment::new(attaching.await?, sent, &attach))
    }

    async fn list(&self, request: Request<ListExecsRequest>) -> Result<ListExecsResponse, Fault> {
        let hub = self.0.reading()?;
        let (caller, request) = (caller(&request), request.into_inner());
        let mut checks = Checks::default();
        let id = VMS.id("vm", &request.vm, &mut checks);
        checks.finish()?;
        let vm = vm::find(hub, &caller, id.unwrap_or_default()).await?;
        let selector = Selector::from(vm.id.to_string().as_str());
        let execs = hub.backend.vms.list_execs(&selector).await?;
        Ok(ListExecsResponse {
            execs: execs.iter().map(|one| exec(vm.id, one)).collect(),
        })
    }

    async fn delete(
        &self,
        request: Request<DeleteExecRequest>,
    ) -> Result<DeleteExecResponse, Fault> {
        let (hub, _acting) = self.0.acting()?;
        let (caller, request) = (caller(&request), request.into_inner());
        let mut checks = Checks::default();
        let name = exec_name(&request.name, &mut checks);
        checks.finish()?;
        let Some((vm, exec)) = name else {
            return Err(Fault::invalid(Vec::new()));
        };
        let vm = vm::find(hub, &caller, &vm).await?.id.to_string();
        let selector = Selector::from(vm.as_str());
        match hub.backend.vms.delete_exec(&selector, &exec).await {
            Ok(()) | Err(ExecError::NoSuchExec { .. }) => Ok(DeleteExecResponse {}),
            Err(error) => Err(error.into()),
        }
    }
}

/// A client that is attached to a command.
struct Attachment {
    /// What is told before anything else.
    greeting: Option<Attached>,
    events: ExecEvents,
    /// Passes on what the client sends; none when that is over.
    input: Option<BoxFuture<'static, Result<(), Fault>>>,
    /// Dropped after `events`, and not with `input`: a client that goes away or
    /// errs does not end standard input.
    _control: mpsc::Sender<ExecControl>,
    /// Up to where the client is done with output, if it says so.
    acknowledged: Option<watch::Receiver<u64>>,
    /// What of the input was taken, if the client follows that.
    accepted: Option<watch::Receiver<core::Accepted>>,
    /// The exit was told.
    over: bool,
}

impl Attachment {
    fn new(session: ExecSession, sent: Streaming<AttachExecRequest>, attach: &Attach) -> Self {
        // a client that goes away may come back
        session.leaving.detach();
        let mut accepted = session.accepted;
        let taken = *accepted.borrow_and_update();
        // the client has what comes before it attached
        let (done_with, told_done) = watch::channel(session.events.offset());
        let input = Input {
            control: session.control.clone(),
            next: session.stdin_offset,
            done_with,
            end_leaves: attach.follows_input,
        };
        Self {
            greeting: Some(Attached {
                pid: session.pid,
                terminal: session.terminal,
                stdin_offset: session.stdin_offset,
                signals: taken.signals,
            }),
            events: session.events,
            input: Some(Box::pin(input.pass_on(sent))),
            _control: session.control,
            acknowledged: attach.acknowledges.then_some(told_done),
            accepted: attach.follows_input.then_some(accepted),
            over: false,
        }
    }

    /// What the client is told next; none after the exit. Cancelling loses nothing.
    async fn next(&mut self) -> Result<Option<Told>, Fault> {
        if let Some(greeting) = self.greeting.take() {
            return Ok(Some(Told::Attached(greeting)));
        }
        if self.over {
            // the exit is on its way; one who acknowledges may still ask for it again
            if self.acknowledged.is_none() {
                self.events.recv().await;
            }
            return Ok(None);
        }
        loop {
            let output = next_event(&mut self.events, self.acknowledged.as_mut());
            tokio::select! {
                passed = passed_on(&mut self.input) => passed?,
                taken = taken(&mut self.accepted) => return Ok(Some(Told::Accepted(taken))),
                event = output => return Ok(event?.map(|event| self.tell(event))),
            }
        }
    }

    fn tell(&mut self, event: ExecEvent) -> Told {
        self.over = matches!(event, ExecEvent::Exit(_));
        output(event, self.events.offset())
    }
}

/// Passes on what a client sends, until that is over.
async fn passed_on(input: &mut Option<BoxFuture<'static, Result<(), Fault>>>) -> Result<(), Fault> {
    match input {
        None => std::future::pending().await,
        Some(passing) => {
            let passed = passing.await;
            *input = None;
            passed
        }
    }
}

/// What of the input was taken by now, when that is news.
async fn taken(accepted: &mut Option<watch::Receiver<core::Accepted>>) -> Accepted {
    let Some(news) = accepted else {
        return std::future::pending().await;
    };
    if news.changed().await.is_err() {
        // the command is over, which its events tell
        return std::future::pending().await;
    }
    let core::Accepted {
        stdin_offset,
        signals,
    } = *news.borrow_and_update();
    Accepted {
        stdin_offset,
        signals,
    }
}

/// The command's next event, when the client is done with those before it.
async fn next_event(
    events: &mut ExecEvents,
    acknowledged: Option<&mut watch::Receiver<u64>>,
) -> Result<Option<ExecEvent>, Fault> {
    if let Some(acknowledged) = acknowledged {
        let told = events.offset();
        let done = acknowledged.wait_for(|offset| told <= *offset).await;
        done.map_err(|_| out_of_place("the client ended without acknowledging its output"))?;
    }
    events.recv().await.transpose().map_err(Fault::from)
}

/// What a client sends, on its way to the command.
struct Input {
    control: mpsc::Sender<ExecControl>,
    /// Where the next byte of standard input stands.
    next: u64,
    /// Up to where the client is done with output.
    done_with: watch::Sender<u64>,
    /// The end of what it sends says that it leaves.
    end_leaves: bool,
}

impl Input {
    async fn pass_on(mut self, mut sent: Streaming<AttachExecRequest>) -> Result<(), Fault> {
        loop {
            let message = match sent.message().await {
                Ok(Some(message)) => message,
                Ok(None) if self.end_leaves => return Err(out_of_place("the client left")),
                Ok(None) => {
                    // it has said all
                    drop(self.control.send(ExecControl::CloseStdin).await);
                    return Ok(());
                }
                Err(status) => return Err(out_of_place(status.message())),
            };
            let Some(message) = message.message else {
                return Err(out_of_place(
                    "a message is empty, or newer than this server",
                ));
            };
            if let Some(control) = self.control(message)? {
                // a command that is over takes nothing
                drop(self.control.send(control).await);
            }
        }
    }

    fn control(&mut self, message: Sent) -> Result<Option<ExecControl>, Fault> {
        Ok(match message {
            Sent::Attach(_) => return Err(out_of_place("only the first message is an Attach")),
            Sent::Stdin(stdin) => self.stdin(stdin)?,
            Sent::CloseStdin(_) => Some(ExecControl::CloseStdin),
            Sent::Signal(number @ 1..=MAX_SIGNAL) => Some(ExecControl::Signal(number)),
            Sent::Signal(_) => return Err(out_of_place("signal: is none")),
            Sent::Resize(size) => {
                let mut checks = Checks::default();
                let size = terminal_size("resize", size, &mut checks);
                checks.finish()?;
                size.map(ExecControl::Resize)
            }
            Sent::Acknowledge(offset) => {
                self.done_with.send_replace(offset);
                None
            }
        })
    }

    /// The bytes that the command has not got.
    fn stdin(&mut self, Stdin { offset, data }: Stdin) -> Result<Option<ExecControl>, Fault> {
        if MAX_INPUT < data.len() {
            return Err(out_of_place("stdin.data: is longer than 65536 bytes"));
        }
        let Some(known) = self.next.checked_sub(offset) else {
            return Err(out_of_place("stdin.offset: leaves bytes out"));
        };
        let known = usize::try_from(known).unwrap_or(usize::MAX).min(data.len());
        let new = data.slice(known..);
        self.next += new.len() as u64;
        Ok((!new.is_empty()).then_some(ExecControl::Stdin(new)))
    }
}

/// A message that a client should not have sent.
fn out_of_place(problem: &str) -> Fault {
    let mut checks = Checks::default();
    checks.violated("message", problem);
    match checks.finish() {
        Err(fault) => fault,
        Ok(()) => Fault::invalid(Vec::new()),
    }
}

type Telling = Pin<Box<dyn Stream<Item = Result<AttachExecResponse, Status>> + Send>>;

#[tonic::async_trait]
impl ExecService for Execs {
    async fn create_exec(
        &self,
        request: Request<CreateExecRequest>,
    ) -> Result<Response<CreateExecResponse>, Status> {
        Ok(Response::new(self.create(request).await?))
    }

    type AttachExecStream = Telling;

    async fn attach_exec(
        &self,
        request: Request<Streaming<AttachExecRequest>>,
    ) -> Result<Response<Telling>, Status> {
        let attachment = self.attach(request).await?;
        let told = stream::try_unfold(attachment, |mut attachment| async {
            let told = attachment.next().await?;
            let answer = |told| AttachExecResponse {
                message: Some(told),
            };
            Ok(told.map(|told| (answer(told), attachment)))
        });
        Ok(Response::new(Box::pin(told)))
    }

    async fn list_execs(
        &self,
        request: Request<ListExecsRequest>,
    ) -> Result<Response<ListExecsResponse>, Status> {
        Ok(Response::new(self.list(request).await?))
    }

    async fn delete_exec(
        &self,
        request: Request<DeleteExecRequest>,
    ) -> Result<Response<DeleteExecResponse>, Status> {
        Ok(Response::new(self.delete(request).await?))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn input(next: u64) -> Input {
        Input {
            control: mpsc::channel(1).0,
            next,
            done_with: watch::Sender::new(0),
            end_leaves: false,
        }
    }

    #[test]
    fn input_that_is_sent_again_is_taken_once_and_gaps_are_refused() {
        let mut input = input(4);
        let mut send = |offset, text: &'static str| {
            let data = Bytes::from_static(text.as_bytes());
            input.stdin(Stdin { offset, data })
        };
        let taken = |text: &'static str| Ok(Some(ExecControl::Stdin(text.into())));
        assert_eq!(send(4, "efg"), taken("efg"));
        assert_eq!(send(4, "efghi"), taken("hi"));
        assert_eq!(send(0, "abcd"), Ok(None));
        assert_eq!(send(9, ""), Ok(None));
        assert!(send(10, "x").is_err());
        assert!(send(u64::MAX, "x").is_err());
        assert_eq!(send(9, "j"), taken("j"));
    }

    #[test]
    fn a_command_is_named_within_its_machine() {
        let mut checks = Checks::default();
        let named = exec_name("vms/u/execs/e-1", &mut checks);
        assert_eq!(named, Some(("u".to_owned(), "e-1".parse().unwrap())));
        for name in ["vms/u", "vms/u/execs/", "vms/u/execs/É", "execs/e", ""] {
            assert_eq!(exec_name(name, &mut checks), None, "{name}");
        }
        assert!(checks.finish().is_err());
    }
}
