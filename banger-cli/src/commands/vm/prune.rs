//! `banger vm prune`.

use banger_core::vm::PruneVms;

use crate::{
    context::Context,
    error::CliError,
    exit,
    output::{PrunedVmsOutput, pruned_vm_lines},
};

pub(in crate::commands) async fn prune(
    context: &Context,
    request: PruneVms,
) -> Result<u8, CliError> {
    let dry_run = request.dry_run;
    let pruned = context.services.vms.prune(request).await?;
    let output = PrunedVmsOutput::new(&pruned, dry_run);
    let lines = || pruned_vm_lines(&pruned, dry_run);
    context.print(&output, lines).await?;
    let mut status = exit::SUCCESS;
    for (_, error) in pruned.failed {
        let error = CliError::from(error);
        context.report(&error).await;
        if status == exit::SUCCESS {
            status = exit::of_error(&error, exit::Surface::Own);
        }
    }
    Ok(status)
}
