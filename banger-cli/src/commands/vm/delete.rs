//! `banger vm delete`.

use banger_core::domain::Selector;

use crate::{
    commands::{each, lines},
    context::Context,
    error::CliError,
    output::VmOutput,
};

pub(in crate::commands) async fn delete(
    context: &Context,
    vms: &[Selector],
    force: bool,
) -> Result<u8, CliError> {
    let delete = async |vm: &Selector| Ok(context.services.vms.delete(vm, force).await?);
    let (deleted, status) = each(context, vms, delete).await;
    let output: Vec<VmOutput> = deleted.iter().map(VmOutput::from).collect();
    let names = || lines(deleted.iter().map(|vm| &vm.name));
    context.print(&output, names).await?;
    Ok(status)
}
