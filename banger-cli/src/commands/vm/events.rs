//! `banger vm events`.

use std::time::Duration;

use banger_core::domain::{Selector, VmChange};
use tokio::time::sleep;

use crate::{
    context::Context,
    error::CliError,
    output::{VmChangeOutput, change_line},
};

/// Between two looks for news.
const PAUSE: Duration = Duration::from_millis(200);

/// Prints page by page; `follow` goes on until a signal ends it.
pub(in crate::commands) async fn events(
    context: &Context,
    vm: Option<&Selector>,
    after: Option<u64>,
    follow: bool,
) -> Result<(), CliError> {
    let mut last = after;
    // a name may mean another VM later, and none after its deletion
    let mut of = vm.cloned();
    loop {
        let page = context.services.vms.changes(of.as_ref(), last).await?;
        for change in &page {
            print(context, change).await?;
        }
        if let Some(newest) = page.last() {
            last = Some(newest.sequence);
            of = of.map(|_| Selector::from(newest.vm.to_string().as_str()));
        } else if follow {
            sleep(PAUSE).await;
        } else {
            return Ok(());
        }
    }
}

async fn print(context: &Context, change: &VmChange) -> Result<(), CliError> {
    let line = if context.style.json {
        let output = VmChangeOutput::from(change);
        let mut line = serde_json::to_string(&output).map_err(CliError::Json)?;
        line.push('\n');
        line
    } else {
        change_line(change)
    };
    context.progress.finish();
    context.console.write_stdout(line.as_bytes()).await
}
