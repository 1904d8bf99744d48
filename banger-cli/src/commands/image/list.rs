//! `banger image list`.

use crate::{
    context::Context,
    error::CliError,
    output::{ImageOutput, image_table},
};

pub(in crate::commands) async fn list(context: &Context) -> Result<(), CliError> {
    let images = context.services.images.list().await?;
    let output: Vec<ImageOutput> = images
        .iter()
        .map(|image| ImageOutput::among(image, &images))
        .collect();
    context.print(&output, || image_table(&images)).await
}
