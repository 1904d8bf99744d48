//! `banger image promote`.

use banger_core::domain::Selector;

use crate::{commands::lines, context::Context, error::CliError, output::ImageOutput};

pub(in crate::commands) async fn promote(
    context: &Context,
    image: &Selector,
) -> Result<(), CliError> {
    let image = context.services.images.promote(image).await?;
    context
        .print(&ImageOutput::from(&image), || lines([&image.name]))
        .await
}
