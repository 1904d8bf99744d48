//! `banger vm create`.

use banger_core::vm::{CreateVm, Lifetime};

use crate::{context::Context, error::CliError};

pub(in crate::commands) async fn create(
    context: &Context,
    request: CreateVm,
) -> Result<(), CliError> {
    let created = context
        .services
        .vms
        .create(request, Lifetime::Detached, &context.progress)
        .await?;
    super::print(context, &created.vm).await
}
