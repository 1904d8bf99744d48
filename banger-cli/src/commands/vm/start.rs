//! `banger vm start`.

use banger_core::{domain::Selector, vm::Lifetime};

use crate::{context::Context, error::CliError};

pub(in crate::commands) async fn start(context: &Context, vm: &Selector) -> Result<(), CliError> {
    let vms = &context.services.vms;
    let started = vms.start(vm, Lifetime::Detached, &context.progress).await?;
    super::print(context, &started.vm).await
}
