//! `banger image pull` of a bundle, or of a name that a catalog may have.

use banger_core::{
    image::{LoadRequest, PullError},
    oci::ImageReference,
};

use crate::{
    commands::{catalog, lines},
    context::Context,
    error::CliError,
    output::ImageOutput,
};

pub(in crate::commands) async fn load(
    context: &Context,
    request: LoadRequest,
) -> Result<(), CliError> {
    let image = catalog::load(context, request).await?;
    context
        .print(&ImageOutput::from(&image), || lines([&image.name]))
        .await
}

/// A name that no catalog has is what it was without catalogs: a reference
/// that lacks its registry.
pub(in crate::commands) async fn load_named(
    context: &Context,
    text: &str,
    request: LoadRequest,
) -> Result<(), CliError> {
    match load(context, request).await {
        Err(CliError::Pull(error)) if matches!(*error, PullError::NotInCatalog { .. }) => {
            text.parse::<ImageReference>()?;
            Err(CliError::Pull(error))
        }
        loaded => loaded,
    }
}
