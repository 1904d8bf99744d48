//! `banger image prune`.

use banger_core::image::PruneRequest;

use crate::{
    context::Context,
    error::CliError,
    output::{PrunedOutput, pruned_lines},
};

pub(in crate::commands) async fn prune(
    context: &Context,
    request: PruneRequest,
) -> Result<(), CliError> {
    let dry_run = request.dry_run;
    let pruned = context.services.images.prune(request).await?;
    let output = PrunedOutput::new(&pruned, dry_run);
    context
        .print(&output, || pruned_lines(&pruned, dry_run))
        .await
}
