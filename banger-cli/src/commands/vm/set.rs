//! `banger vm set`.

use banger_core::{domain::Selector, vm::SetVm};

use crate::{context::Context, error::CliError};

pub(in crate::commands) async fn set(
    context: &Context,
    vm: &Selector,
    request: SetVm,
) -> Result<(), CliError> {
    let vm = context.services.vms.set(vm, request).await?;
    super::print(context, &vm).await
}
