//! `banger vm logs`.

use std::time::{SystemTime, UNIX_EPOCH};

use banger_core::{
    clock::{Clock as _, SystemClock},
    domain::Selector,
    vm::LogsRequest,
};

use crate::{args::Since, context::Context, error::CliError};

pub(in crate::commands) async fn logs(
    context: &Context,
    vm: &Selector,
    mut request: LogsRequest,
    since: Option<Since>,
) -> Result<(), CliError> {
    request.since = since.map(point_in_time);
    let mut log = context.services.vms.logs(vm, request).await?;
    while let Some(chunk) = log.chunks.recv().await {
        context.console.write_stdout(&chunk?).await?;
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
