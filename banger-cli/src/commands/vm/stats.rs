//! `banger vm stats`.

use banger_core::domain::{Selector, VmState};

use crate::{
    commands::each,
    context::Context,
    error::CliError,
    output::{VmStatsOutput, vm_stats_table},
};

pub(in crate::commands) async fn stats(
    context: &Context,
    vms: &[Selector],
) -> Result<u8, CliError> {
    let all = match vms {
        [] => running(context).await?,
        vms => vms.to_vec(),
    };
    let (costs, status) = each(context, &all, async |vm| {
        Ok(context.services.vms.stats(vm).await?)
    })
    .await;
    let output: Vec<VmStatsOutput> = costs.iter().map(VmStatsOutput::from).collect();
    context.print(&output, || vm_stats_table(&costs)).await?;
    Ok(status)
}

async fn running(context: &Context) -> Result<Vec<Selector>, CliError> {
    let vms = context.services.vms.list().await?;
    let up = vms
        .iter()
        .filter(|vm| matches!(vm.state, VmState::Running | VmState::Paused));
    Ok(up
        .map(|vm| Selector::from(vm.id.to_string().as_str()))
        .collect())
}
