//! `banger image show`.

use banger_core::domain::Selector;

use crate::{
    context::Context,
    error::CliError,
    output::{ImageOutput, image_details},
};

pub(in crate::commands) async fn show(context: &Context, image: &Selector) -> Result<(), CliError> {
    let image = context.services.images.show(image).await?;
    let images = context.services.images.list().await?;
    let output = ImageOutput::among(&image, &images);
    context
        .print(&output, || image_details(&image, &images))
        .await
}
