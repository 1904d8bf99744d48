//! Which image `vm run` runs: one that is here, or one that it pulls.

use banger_core::{
    bundle::BundleReference,
    domain::{Image, ImageName, ImageOrigin, Selector},
    image::{ImageQueryError, LoadRequest, LoadSource, PullError, PullRequest},
    oci::ImageReference,
};

use crate::{
    commands::{catalog, image::choose_kernel},
    context::Context,
    error::CliError,
    requests::{PullOptions, Target},
};

/// The image a target means, pulled if need be.
pub(super) async fn find_image(
    context: &Context,
    target: &Target,
    options: &PullOptions,
) -> Result<Image, CliError> {
    match target {
        Target::Existing(selector) => {
            let image = match context.services.images.show(selector).await {
                Err(error @ ImageQueryError::NotFound { .. }) => {
                    return from_catalog(context, selector, options, error).await;
                }
                found => found?,
            };
            check_options(context, image, options).await
        }
        Target::Bundle(reference) => match of_bundle(context, reference).await? {
            Some(image) => check_options(context, image, options).await,
            None => load(context, LoadSource::Bundle(reference.clone()), options).await,
        },
        Target::Reference(reference) => match existing(context, reference).await? {
            Some(image) => check_options(context, image, options).await,
            None => pull(context, reference, options).await,
        },
    }
}

/// An image that is not here but in a catalog; when another process was faster,
/// its result will do.
async fn from_catalog(
    context: &Context,
    selector: &Selector,
    options: &PullOptions,
    missing: ImageQueryError,
) -> Result<Image, CliError> {
    let Ok(name) = selector.as_str().parse::<ImageName>() else {
        return Err(missing.into());
    };
    match load(context, LoadSource::Catalog(name), options).await {
        Err(CliError::Pull(error)) => match *error {
            PullError::NotInCatalog { .. } => Err(missing.into()),
            PullError::AlreadyExists { .. } => Ok(context.services.images.show(selector).await?),
            error => Err(error.into()),
        },
        loaded => loaded,
    }
}

/// The image that was made of this bundle: of the same digest, or, where none
/// was given, from the same place.
async fn of_bundle(context: &Context, wanted: &BundleReference) -> Result<Option<Image>, CliError> {
    let images = context.services.images.list().await?;
    Ok(images.into_iter().find(|image| {
        let ImageOrigin::Bundle { reference, sha256 } = &image.origin else {
            return false;
        };
        match &wanted.digest {
            Some(digest) => digest == sha256,
            None => *reference == format!("{}@{sha256}", wanted.location),
        }
    }))
}

async fn load(
    context: &Context,
    source: LoadSource,
    options: &PullOptions,
) -> Result<Image, CliError> {
    if options.size.is_some() {
        return Err(CliError::usage(
            "--size cannot be used with a bundle, whose disk has its size",
        ));
    }
    let request = LoadRequest {
        source,
        name: None,
        kernel: options.kernel.clone(),
    };
    catalog::load(context, request).await
}

/// The image that an earlier pull of this reference made.
async fn existing(
    context: &Context,
    reference: &ImageReference,
) -> Result<Option<Image>, CliError> {
    let Some(name) = reference.default_name() else {
        return Ok(None);
    };
    let images = context.services.images.list().await?;
    let image = images.into_iter().find(|image| image.name == name);
    image
        .map(|image| check_origin(image, reference))
        .transpose()
}

fn check_origin(image: Image, reference: &ImageReference) -> Result<Image, CliError> {
    let difference = match &image.origin {
        ImageOrigin::Oci {
            reference: origin, ..
        } if *origin == reference.to_string() => {
            return Ok(image);
        }
        ImageOrigin::Oci {
            reference: origin, ..
        }
        | ImageOrigin::Bundle {
            reference: origin, ..
        } => format!("was pulled from {origin}"),
        _ => "was not pulled".to_owned(),
    };
    Err(differs(image.name, difference))
}

const fn differs(name: ImageName, difference: String) -> CliError {
    CliError::ImageDiffers { name, difference }
}

/// What was asked of the pull must hold for the image that is here.
async fn check_options(
    context: &Context,
    image: Image,
    options: &PullOptions,
) -> Result<Image, CliError> {
    if options.kernel.name.is_some() && options.kernel.name != image.kernel {
        let kernel = image.kernel.as_ref();
        let kernel =
            kernel.map_or_else(|| "a kernel given by path".to_owned(), ToString::to_string);
        return Err(differs(image.name, format!("boots with {kernel}")));
    }
    if let Some(size) = options.size.filter(|size| *size != image.sizes.apparent) {
        let difference = format!("has a disk of {}, not {size}", image.sizes.apparent);
        return Err(differs(image.name, difference));
    }
    if !options.kernel.paths.is_empty() {
        let note = format!(
            "image {} exists already: its own copy of a kernel is used",
            image.name
        );
        context.note(&note).await?;
    }
    Ok(image)
}

/// Pulls; when another process was faster, its result will do.
async fn pull(
    context: &Context,
    reference: &ImageReference,
    options: &PullOptions,
) -> Result<Image, CliError> {
    let request = PullRequest {
        reference: reference.clone(),
        name: None,
        kernel: choose_kernel(context, options.kernel.clone()).await?,
        size: options.size,
        containerfile: None,
    };
    match context
        .services
        .images
        .pull(request, &context.progress)
        .await
    {
        Err(error @ PullError::AlreadyExists { .. }) => match existing(context, reference).await? {
            Some(image) => check_options(context, image, options).await,
            None => Err(error.into()),
        },
        pulled => Ok(pulled?),
    }
}
