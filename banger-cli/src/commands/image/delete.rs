//! `banger image delete`.

use banger_core::domain::Selector;

use crate::{
    commands::{each, lines},
    context::Context,
    error::CliError,
    output::ImageOutput,
};

pub(in crate::commands) async fn delete(
    context: &Context,
    images: &[Selector],
) -> Result<u8, CliError> {
    let delete = async |image: &Selector| Ok(context.services.images.delete(image).await?);
    let (deleted, status) = each(context, images, delete).await;
    let output: Vec<ImageOutput> = deleted.iter().map(ImageOutput::from).collect();
    let names = || lines(deleted.iter().map(|image| &image.name));
    context.print(&output, names).await?;
    Ok(status)
}
