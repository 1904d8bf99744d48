//! `banger vm kill`.

use banger_core::domain::Selector;

use crate::{context::Context, error::CliError};

pub(in crate::commands) async fn kill(context: &Context, vm: &Selector) -> Result<(), CliError> {
    let vm = context.services.vms.kill(vm).await?;
    super::print(context, &vm).await
}
