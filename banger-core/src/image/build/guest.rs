//! One step in the guest of a build: a command, its input, its output.
//!
//! Invariants: input is sent no faster than the guest takes it; everything the
//! guest says goes to the log and to who watches, in order.

use std::io::Read as _;

use bytes::Bytes as Buffer;
use tokio::sync::mpsc;

use super::{BuildMachineError, inputs::GuestStep, log::BuildLog};
use crate::{
    domain::Selector,
    host_fs::{FileRange, IoContext as _, PathError, RangeReader},
    progress::{ProgressEvent, ProgressSink},
    task::off_thread,
    vm::{ExecControl, ExecEvent, ExecEvents, ExecExit, ExecRequest, ExecSession, VmSupervisor},
};

/// Bytes of input that are read at once.
const CHUNK: usize = 1 << 20;

/// Programs of root's look for their files there.
const HOME: &str = "HOME=/root";

/// Why a step did not go well.
#[derive(Debug)]
pub(super) enum StepFailure {
    /// The command failed: how, in words.
    Command(String),
    /// The machine failed.
    Machine(BuildMachineError),
    /// A host file failed.
    Io(PathError),
}

/// Where the guest's words go.
#[derive(Debug)]
pub(super) struct Listeners<'a> {
    pub(super) log: &'a mut BuildLog,
    pub(super) progress: &'a dyn ProgressSink,
}

impl Listeners<'_> {
    pub(super) fn hear(&mut self, bytes: Buffer) -> Result<(), PathError> {
        self.log.add(&bytes)?;
        self.progress.emit(ProgressEvent::BuildOutput { bytes });
        Ok(())
    }

    /// Tells that a step begins.
    pub(super) fn announce(&mut self, step: &str) -> Result<(), PathError> {
        self.log.say(step)?;
        self.progress.emit(ProgressEvent::BuildStep {
            step: step.to_owned(),
        });
        Ok(())
    }
}

/// Runs a step to its end. Dropping the future kills the command.
pub(super) async fn run(
    vms: &dyn VmSupervisor,
    vm: &Selector,
    step: &GuestStep,
    listeners: &mut Listeners<'_>,
) -> Result<(), StepFailure> {
    let request = ExecRequest {
        argv: step.argv.clone(),
        env: vec![HOME.to_owned()],
        working_directory: Some("/".to_owned()),
        user: Some("0:0".to_owned()),
        ..ExecRequest::default()
    };
    let session = vms.exec(vm, request).await;
    let session = session.map_err(|error| StepFailure::Machine(error.into()))?;
    match attend(session, step.input.clone(), listeners).await? {
        ExecExit::Code(0) => Ok(()),
        ExecExit::Code(code) => Err(StepFailure::Command(format!("exit status {code}"))),
        ExecExit::Signal(signal) => Err(StepFailure::Command(format!("signal {signal}"))),
        ExecExit::TimedOut => Err(StepFailure::Command("its time was up".to_owned())),
        ExecExit::OutOfMemory => Err(StepFailure::Command(
            "the guest ran out of memory".to_owned(),
        )),
    }
}

async fn attend(
    session: ExecSession,
    input: Option<FileRange>,
    listeners: &mut Listeners<'_>,
) -> Result<ExecExit, StepFailure> {
    let ExecSession {
        control, events, ..
    } = session;
    let feeding = async {
        feed(control, input).await?;
        std::future::pending().await
    };
    tokio::select! {
        exit = listen(events, listeners) => exit,
        failed = feeding => failed,
    }
}

async fn listen(
    mut events: ExecEvents,
    listeners: &mut Listeners<'_>,
) -> Result<ExecExit, StepFailure> {
    while let Some(event) = events.recv().await {
        match event.map_err(|error| StepFailure::Machine(error.into()))? {
            ExecEvent::Stdout(bytes) | ExecEvent::Stderr(bytes) => {
                listeners.hear(bytes).map_err(StepFailure::Io)?;
            }
            // not of a session that waits for its client, as this one does
            ExecEvent::Truncated { .. } => {}
            ExecEvent::Exit(exit) => return Ok(exit),
        }
    }
    Err(StepFailure::Machine(BuildMachineError::SessionLost))
}

/// Sends the input and its end. A command that ended takes no more, which is
/// its own business: its exit says whether all went well.
async fn feed(
    control: mpsc::Sender<ExecControl>,
    input: Option<FileRange>,
) -> Result<(), StepFailure> {
    let mut reader = input.map(|range| range.reader());
    while let Some(open) = reader.take() {
        let (open, chunk) = off_thread(move || next_chunk(open))
            .await
            .map_err(StepFailure::Io)?;
        if chunk.is_empty() || control.send(ExecControl::Stdin(chunk)).await.is_err() {
            break;
        }
        reader = Some(open);
    }
    drop(control.send(ExecControl::CloseStdin).await);
    Ok(())
}

fn next_chunk(mut reader: RangeReader) -> Result<(RangeReader, Buffer), PathError> {
    let mut chunk = Vec::new();
    (&mut reader)
        .take(CHUNK as u64)
        .read_to_end(&mut chunk)
        .at("read", "the files for the guest".into())?;
    Ok((reader, chunk.into()))
}
