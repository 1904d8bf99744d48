//! What machines are made of, fetched when it is not there yet.

use std::io;

use banger_core::{
    ErrorKind,
    domain::{Image, KernelName, Selector},
    image::{ImageManager, PullRequest},
    kernel::{KernelResolver, KernelSelection, KernelSource},
    oci::ImageReference,
    progress::NoProgress,
};

use crate::Result;

/// The name the kernel is kept under.
const KERNEL: &str = "embedded";

/// Imports the kernel unless that was done before.
pub(crate) async fn kernel(
    kernels: &dyn KernelResolver,
    source: &KernelSource,
) -> Result<KernelName> {
    let name: KernelName = KERNEL.parse()?;
    match kernels
        .import(source, Some(name.clone()), &NoProgress)
        .await
    {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error.into()),
        _ => Ok(name),
    }
}

/// Pulls the image unless that was done before.
pub(crate) async fn image(
    images: &dyn ImageManager,
    reference: ImageReference,
    kernel: KernelName,
) -> Result<Image> {
    let name = reference
        .default_name()
        .ok_or_else(|| io::Error::other(format!("no name can be made of {reference}")))?;
    let request = PullRequest {
        reference,
        name: Some(name.clone()),
        kernel: KernelSelection {
            name: Some(kernel),
            ..KernelSelection::default()
        },
        size: None,
        containerfile: None,
    };
    match images.pull(request, &NoProgress).await {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Ok(images.show(&Selector::from(name.as_str())).await?)
        }
        pulled => Ok(pulled?),
    }
}
