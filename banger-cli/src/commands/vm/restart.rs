//! `banger vm restart`.

use std::time::Duration;

use banger_core::domain::Selector;

use crate::{context::Context, error::CliError};

pub(in crate::commands) async fn restart(
    context: &Context,
    vm: &Selector,
    grace: Duration,
) -> Result<(), CliError> {
    let vms = &context.services.vms;
    let vm = vms.restart(vm, grace, &context.progress).await?;
    super::print(context, &vm).await
}
