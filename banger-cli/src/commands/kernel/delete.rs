//! `banger kernel delete`.

use banger_core::domain::KernelName;

use crate::{
    commands::{each, lines},
    context::Context,
    error::CliError,
    output::KernelOutput,
};

pub(in crate::commands) async fn delete(
    context: &Context,
    kernels: &[KernelName],
) -> Result<u8, CliError> {
    let delete = async |name: &KernelName| Ok(context.services.kernels.delete(name).await?);
    let (deleted, status) = each(context, kernels, delete).await;
    let output: Vec<KernelOutput> = deleted.iter().map(KernelOutput::from).collect();
    let names = || lines(deleted.iter().map(|kernel| &kernel.name));
    context.print(&output, names).await?;
    Ok(status)
}
