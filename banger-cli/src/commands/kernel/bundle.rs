//! `banger kernel bundle`.

use banger_core::domain::KernelName;
use camino::Utf8PathBuf;

use crate::{context::Context, error::CliError, output::BundleOutput};

pub(in crate::commands) async fn bundle(
    context: &Context,
    name: &KernelName,
    target: Utf8PathBuf,
) -> Result<(), CliError> {
    let kernels = &context.services.kernels;
    let written = kernels
        .bundle(name, target.clone().into(), &context.progress)
        .await?;
    let output = BundleOutput::new(&target, &written);
    context.print(&output, || output.line()).await
}
