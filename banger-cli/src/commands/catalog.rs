//! What catalogs offer, and what is had from them by a short name.

use banger_core::{
    catalog::Available,
    domain::{Image, KernelName},
    image::{LoadRequest, PullError},
    kernel::{ImportKernelError, KernelQueryError, PullKernelError, ResolveKernelError},
};

use super::image::choose_kernel;
use crate::{
    context::Context,
    error::CliError,
    exit,
    output::{CatalogEntryOutput, catalog_table},
};

/// Prints what there is; a catalog that cannot be used is reported, and its
/// failure is the command's.
pub(super) async fn print(context: &Context, available: Available) -> Result<u8, CliError> {
    let Available { entries, failures } = available;
    let output: Vec<CatalogEntryOutput> = entries.iter().map(CatalogEntryOutput::from).collect();
    context.print(&output, || catalog_table(&entries)).await?;
    let mut status = exit::SUCCESS;
    for failure in failures {
        let error = CliError::from(failure);
        context.report(&error).await;
        if status == exit::SUCCESS {
            status = exit::of_error(&error, exit::Surface::Own);
        }
    }
    Ok(status)
}

/// Makes an image of a bundle. One that holds no kernel boots with the only
/// one there is, as a pulled image does.
pub(super) async fn load(context: &Context, request: LoadRequest) -> Result<Image, CliError> {
    if let Some(name) = &request.kernel.name {
        have_kernel(context, name).await?;
    }
    let images = &context.services.images;
    match images.load(request.clone(), &context.progress).await {
        Err(PullError::Kernel {
            source: ResolveKernelError::Nothing,
            ..
        }) => {
            let kernel = choose_kernel(context, request.kernel.clone()).await?;
            let request = LoadRequest { kernel, ..request };
            Ok(images.load(request, &context.progress).await?)
        }
        loaded => Ok(loaded?),
    }
}

/// Pulls a kernel that is not here and that a catalog has, where its progress
/// can be seen. What no catalog has is left to whoever needs it to complain.
pub(super) async fn have_kernel(context: &Context, name: &KernelName) -> Result<(), CliError> {
    let kernels = &context.services.kernels;
    match kernels.show(name).await {
        Err(KernelQueryError::NotFound { .. }) => {}
        found => return Ok(found.map(drop)?),
    }
    match kernels.pull(name, false, &context.progress).await {
        Ok(_)
        | Err(
            PullKernelError::NotInCatalog { .. }
            | PullKernelError::Import(ImportKernelError::AlreadyExists { .. }),
        ) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
