//! `banger vm show`.

use banger_core::domain::Selector;

use crate::{
    context::Context,
    error::CliError,
    output::{VmOutput, vm_details},
};

pub(in crate::commands) async fn show(context: &Context, vm: &Selector) -> Result<(), CliError> {
    let vm = context.services.vms.show(vm).await?;
    let images = context.image_names().await?;
    context
        .print(&VmOutput::from(&vm), || vm_details(&vm, &images))
        .await
}
