//! `banger vm logs`.

use banger_core::{domain::Selector, vm::LogsRequest};

use crate::{context::Context, error::CliError};

pub(in crate::commands) async fn logs(
    context: &Context,
    vm: &Selector,
    request: LogsRequest,
) -> Result<(), CliError> {
    let mut log = context.services.vms.logs(vm, request).await?;
    while let Some(chunk) = log.chunks.recv().await {
        context.console.write_stdout(&chunk?).await?;
    }
    Ok(())
}
