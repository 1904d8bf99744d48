//! `banger vm wait`.

use std::time::Duration;

use banger_core::domain::{Selector, VmState};

use crate::{commands::lines, context::Context, error::CliError, exit, output::VmOutput};

pub(in crate::commands) async fn wait(
    context: &Context,
    vm: &Selector,
    limit: Option<Duration>,
) -> Result<u8, CliError> {
    let vm = context.services.vms.wait(vm, limit).await?;
    let state = || lines([vm.state.as_str()]);
    context.print(&VmOutput::from(&vm), state).await?;
    Ok(match vm.state {
        VmState::Failed => exit::VM_FAILED,
        _ => exit::SUCCESS,
    })
}
