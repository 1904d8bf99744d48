//! `banger kernel import`.

use banger_core::{domain::KernelName, kernel::KernelSource};

use crate::{commands::lines, context::Context, error::CliError, output::KernelOutput};

pub(in crate::commands) async fn import(
    context: &Context,
    source: &KernelSource,
    name: Option<KernelName>,
) -> Result<(), CliError> {
    let kernels = &context.services.kernels;
    let kernel = kernels.import(source, name, &context.progress).await?;
    context
        .print(&KernelOutput::from(&kernel), || lines([&kernel.name]))
        .await
}
