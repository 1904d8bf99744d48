//! `banger vm exec`, `attach`, `shell` and `execs`.

use banger_core::{
    domain::Selector,
    vm::{ExecControl, ExecExit, ExecRequest, ExecSession},
};

use crate::{
    commands::lines,
    context::Context,
    error::CliError,
    exit,
    output::{ExecOutput, StartedExecOutput, exec_table},
    requests::{AttachRequest, ProcessRequest},
    session::{self, Attachment, Ended},
    signals::Signals,
    terminal,
};

pub(in crate::commands) async fn exec(
    context: &Context,
    signals: &mut Signals,
    vm: &Selector,
    request: ProcessRequest,
) -> Result<u8, CliError> {
    let attachment = request.attachment;
    let session = signals.guard(start(context, vm, request)).await?;
    accompany(context, signals, session, attachment).await
}

/// Starts a command that nobody attends to.
pub(in crate::commands) async fn exec_detached(
    context: &Context,
    vm: &Selector,
    request: ExecRequest,
) -> Result<u8, CliError> {
    let session = context.services.vms.exec(vm, request).await?;
    let output = StartedExecOutput::from(&session.id);
    context.print(&output, || lines([&session.id])).await?;
    Ok(exit::SUCCESS)
}

pub(in crate::commands) async fn attach(
    context: &Context,
    signals: &mut Signals,
    vm: &Selector,
    request: AttachRequest,
) -> Result<u8, CliError> {
    let session = signals.guard(join(context, vm, &request)).await?;
    let attachment = Attachment {
        interactive: request.interactive,
        terminal: session.terminal && terminal::is_terminal(context.console.stdin()),
    };
    if attachment.terminal {
        let size = terminal::size(context.console.stdin());
        // a session that is over is told of by its events
        let _over = session.control.send(ExecControl::Resize(size)).await;
    }
    accompany(context, signals, session, attachment).await
}

pub(in crate::commands) async fn execs(context: &Context, vm: &Selector) -> Result<(), CliError> {
    let execs = context.services.vms.list_execs(vm).await?;
    let output: Vec<ExecOutput> = execs.iter().map(ExecOutput::from).collect();
    context.print(&output, || exec_table(&execs)).await
}

/// Starts the command, on a terminal of the user's size when it wants one.
pub(super) async fn start(
    context: &Context,
    vm: &Selector,
    request: ProcessRequest,
) -> Result<ExecSession, CliError> {
    let console = &context.console;
    let wanted = request.attachment.terminal;
    let exec = ExecRequest {
        terminal: wanted.then(|| terminal::size(console.stdin())),
        ..request.exec
    };
    let session = context.services.vms.exec(vm, exec).await?;
    context.progress.finish();
    Ok(session)
}

async fn join(
    context: &Context,
    vm: &Selector,
    request: &AttachRequest,
) -> Result<ExecSession, CliError> {
    let vms = &context.services.vms;
    let session = vms.attach_exec(vm, &request.exec, request.offset).await?;
    context.progress.finish();
    Ok(session)
}

async fn accompany(
    context: &Context,
    signals: &mut Signals,
    session: ExecSession,
    attachment: Attachment,
) -> Result<u8, CliError> {
    let ended = session::attach(session, &context.console, signals, attachment).await?;
    explain(context, ended).await?;
    Ok(ended.status())
}

/// Says what an exit status alone does not.
pub(super) async fn explain(context: &Context, ended: Ended) -> Result<(), CliError> {
    match ended {
        Ended::Exit(ExecExit::TimedOut) => context.note("the command's time was up").await,
        Ended::Exit(ExecExit::OutOfMemory) => {
            let text = "the guest ran out of memory, and its kernel killed the command";
            context.note(text).await
        }
        _ => Ok(()),
    }
}
