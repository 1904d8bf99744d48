//! `banger vm list`.

use crate::{
    context::Context,
    error::CliError,
    output::{VmOutput, vm_table},
};

pub(in crate::commands) async fn list(context: &Context) -> Result<(), CliError> {
    let vms = context.services.vms.list().await?;
    let images = context.image_names().await?;
    let output: Vec<VmOutput> = vms.iter().map(VmOutput::from).collect();
    context.print(&output, || vm_table(&vms, &images)).await
}
