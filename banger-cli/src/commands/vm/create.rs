//! `banger vm create`.

use banger_core::vm::CreateVm;

use crate::{context::Context, error::CliError};

pub(in crate::commands) async fn create(
    context: &Context,
    request: CreateVm,
) -> Result<(), CliError> {
    let vm = context
        .services
        .vms
        .create(request, &context.progress)
        .await?;
    super::print(context, &vm).await
}
