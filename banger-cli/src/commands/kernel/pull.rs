//! `banger kernel pull`.

use banger_core::domain::KernelName;

use crate::{commands::lines, context::Context, error::CliError, output::KernelOutput};

pub(in crate::commands) async fn pull(
    context: &Context,
    name: &KernelName,
    force: bool,
) -> Result<(), CliError> {
    let kernels = &context.services.kernels;
    let kernel = kernels.pull(name, force, &context.progress).await?;
    context
        .print(&KernelOutput::from(&kernel), || lines([&kernel.name]))
        .await
}
