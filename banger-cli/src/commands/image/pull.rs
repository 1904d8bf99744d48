//! `banger image pull`.

use banger_core::{image::PullRequest, kernel::KernelSelection};

use crate::{
    commands::{catalog::have_kernel, lines},
    context::Context,
    error::CliError,
    output::ImageOutput,
    requests::is_chosen,
};

pub(in crate::commands) async fn pull(
    context: &Context,
    request: PullRequest,
) -> Result<(), CliError> {
    let kernel = choose_kernel(context, request.kernel).await?;
    let request = PullRequest { kernel, ..request };
    let image = context
        .services
        .images
        .pull(request, &context.progress)
        .await?;
    context
        .print(&ImageOutput::from(&image), || lines([&image.name]))
        .await
}

/// The kernel that was chosen; when none was, the only one there is.
pub(in crate::commands) async fn choose_kernel(
    context: &Context,
    selection: KernelSelection,
) -> Result<KernelSelection, CliError> {
    if let Some(name) = &selection.name {
        have_kernel(context, name).await?;
    }
    if is_chosen(&selection) {
        return Ok(selection);
    }
    let kernels = context.services.kernels.list().await?;
    let mut names: Vec<_> = kernels.into_iter().map(|kernel| kernel.name).collect();
    match names.len() {
        0 => Err(CliError::NoKernel),
        1 => Ok(KernelSelection {
            name: names.pop(),
            ..selection
        }),
        _ => Err(CliError::SeveralKernels { names }),
    }
}
