//! `banger vm pause` and `banger vm resume`.

use banger_core::domain::Selector;

use crate::{context::Context, error::CliError};

pub(in crate::commands) async fn pause(context: &Context, vm: &Selector) -> Result<(), CliError> {
    let vm = context.services.vms.pause(vm).await?;
    super::print(context, &vm).await
}

pub(in crate::commands) async fn resume(context: &Context, vm: &Selector) -> Result<(), CliError> {
    let vm = context.services.vms.resume(vm).await?;
    super::print(context, &vm).await
}
