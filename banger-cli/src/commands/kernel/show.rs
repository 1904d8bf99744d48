//! `banger kernel show`.

use banger_core::domain::KernelName;

use crate::{
    context::Context,
    error::CliError,
    output::{KernelOutput, kernel_details},
};

pub(in crate::commands) async fn show(
    context: &Context,
    name: &KernelName,
) -> Result<(), CliError> {
    let kernel = context.services.kernels.show(name).await?;
    context
        .print(&KernelOutput::from(&kernel), || kernel_details(&kernel))
        .await
}
