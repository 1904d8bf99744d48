//! `banger image bundle`.

use banger_core::image::BundleImageRequest;

use crate::{context::Context, error::CliError, output::BundleOutput};

pub(in crate::commands) async fn bundle(
    context: &Context,
    request: BundleImageRequest,
) -> Result<(), CliError> {
    let target = request.target.path().to_owned();
    let images = &context.services.images;
    let written = images.bundle(request, &context.progress).await?;
    let output = BundleOutput::new(&target, &written);
    context.print(&output, || output.line()).await
}
