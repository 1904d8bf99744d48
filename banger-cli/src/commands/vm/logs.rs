//! `banger vm logs`.

use std::time::{SystemTime, UNIX_EPOCH};

use banger_core::{
    clock::{Clock as _, SystemClock},
    domain::Selector,
    vm::LogsRequest,
};

use crate::{args::Since, context::Context, error::CliError};

/// What is said where a part of a log is missing.
const GAP: &[u8] = b"warning: a part of the log is missing here: it is not kept any more\n";

pub(in crate::commands) async fn logs(
    context: &Context,
    vm: &Selector,
    mut request: LogsRequest,
    since: Option<Since>,
) -> Result<(), CliError> {
    request.since = since.map(point_in_time);
    let mut log = context.services.vms.logs(vm, request).await?;
    while let Some(chunk) = log.chunks.recv().await {
        let chunk = chunk?;
        if chunk.gap {
            context.console.write_stderr(GAP).await?;
        }
        context.console.write_stdout(&chunk.bytes).await?;
    }
    Ok(())
}

/// An age counts from now; one from before all times means everything.
fn point_in_time(since: Since) -> SystemTime {
    match since {
        Since::At(time) => time,
        Since::Ago(age) => SystemClock.now().checked_sub(age).unwrap_or(UNIX_EPOCH),
    }
}
