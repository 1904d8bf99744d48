//! `banger kernel list`.

use crate::{
    context::Context,
    error::CliError,
    output::{KernelOutput, kernel_table},
};

pub(in crate::commands) async fn list(context: &Context) -> Result<(), CliError> {
    let kernels = context.services.kernels.list().await?;
    let output: Vec<KernelOutput> = kernels.iter().map(KernelOutput::from).collect();
    context.print(&output, || kernel_table(&kernels)).await
}
