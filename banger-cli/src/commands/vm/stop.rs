//! `banger vm stop`.

use std::time::Duration;

use banger_core::domain::Selector;

use crate::{context::Context, error::CliError};

pub(in crate::commands) async fn stop(
    context: &Context,
    vm: &Selector,
    grace: Duration,
) -> Result<(), CliError> {
    let vm = context.services.vms.stop(vm, grace).await?;
    super::print(context, &vm).await
}
