//! `banger image build`.

use banger_core::{
    domain::Image,
    image::build::{BuildContainerfileRequest, BuildImageRequest},
};

use super::pull::choose_kernel;
use crate::{commands::lines, context::Context, error::CliError, output::ImageOutput};

pub(in crate::commands) async fn build_from_image(
    context: &Context,
    request: BuildImageRequest,
) -> Result<(), CliError> {
    let builder = &context.services.builder;
    let image = builder.build_from_image(request, &context.progress).await?;
    print(context, &image).await
}

pub(in crate::commands) async fn build_containerfile(
    context: &Context,
    request: BuildContainerfileRequest,
) -> Result<(), CliError> {
    let kernel = choose_kernel(context, request.kernel).await?;
    let request = BuildContainerfileRequest { kernel, ..request };
    let builder = &context.services.builder;
    let image = builder
        .build_containerfile(request, &context.progress)
        .await?;
    print(context, &image).await
}

async fn print(context: &Context, image: &Image) -> Result<(), CliError> {
    context
        .print(&ImageOutput::from(image), || lines([&image.name]))
        .await
}
