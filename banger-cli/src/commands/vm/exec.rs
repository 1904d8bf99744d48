//! `banger vm exec`.

use banger_core::{
    domain::Selector,
    vm::{ExecRequest, ExecSession},
};

use crate::{
    context::Context, error::CliError, requests::ProcessRequest, session, signals::Signals,
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
    let ended = session::attach(session, &context.console, signals, attachment).await?;
    Ok(ended.status())
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
