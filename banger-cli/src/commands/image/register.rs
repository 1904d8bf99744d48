//! `banger image register`.

use banger_core::image::RegisterRequest;

use super::pull::choose_kernel;
use crate::{commands::lines, context::Context, error::CliError, output::ImageOutput};

pub(in crate::commands) async fn register(
    context: &Context,
    request: RegisterRequest,
) -> Result<(), CliError> {
    let kernel = choose_kernel(context, request.kernel).await?;
    let request = RegisterRequest { kernel, ..request };
    let image = context.services.images.register(request).await?;
    context
        .print(&ImageOutput::from(&image), || lines([&image.name]))
        .await
}
