//! Making images of bundles.
//!
//! Invariants: a bundle is the host's own, or one that a client sent, as the request
//! says. Entry points: [`load_image`], [`load_request`].

use banger_api::v1::{LoadImageRequest, PhaseKind, load_image_request::Source, operation::Outcome};
use banger_core::{
    bundle::{BundleReference, Location},
    domain::{Image, ImageName, ImageOrigin, KernelName},
    image::{LoadRequest, LoadSource, PullError},
    kernel::KernelSelection,
};

use super::{artifacts::given, work::Context};
use crate::{
    convert,
    fault::Fault,
    request::{Checks, name::KERNELS, source},
};

/// The name that is known before the bundle is; empty if there is none.
pub(super) fn known_name(request: &LoadImageRequest) -> &str {
    match &request.source {
        Some(Source::CatalogName(name)) if request.image_id.is_empty() => name,
        _ => &request.image_id,
    }
}

/// What the core is to load. Pure.
pub(crate) fn load_request(request: &LoadImageRequest) -> Result<LoadRequest, Fault> {
    let mut checks = Checks::default();
    let is_elsewhere = !request.upload.is_empty();
    let source = match &request.source {
        Some(Source::CatalogName(_)) if is_elsewhere => {
            checks.violated("upload", "is given with a catalog's name");
            None
        }
        Some(Source::CatalogName(name)) => {
            let name = checks.parse::<ImageName>("catalog_name", name);
            name.map(LoadSource::Catalog)
        }
        Some(Source::Bundle(text)) => {
            let bundle = source::bundle(text, is_elsewhere, &mut checks);
            bundle.map(LoadSource::Bundle)
        }
        None => {
            checks.violated("source", "is missing");
            None
        }
    };
    source::signature(&request.signature, &mut checks);
    let name = checks.parse_given::<ImageName>("image_id", &request.image_id);
    let kernel = (!request.kernel.is_empty()).then_some(&request.kernel);
    let kernel = kernel.and_then(|name| {
        let id = KERNELS.id("kernel", name, &mut checks)?;
        checks.parse::<KernelName>("kernel", id)
    });
    checks.finish()?;
    // it is there, or the checks had not finished
    let source = source.ok_or_else(|| Fault::invalid(Vec::new()))?;
    Ok(LoadRequest {
        source,
        name,
        kernel: KernelSelection {
            name: kernel,
            ..KernelSelection::default()
        },
    })
}

/// Whether the bundle is to come out of the host's own files.
pub(crate) fn is_host_bundle(request: &LoadImageRequest) -> bool {
    let Some(Source::Bundle(text)) = &request.source else {
        return false;
    };
    let reference = text.parse::<BundleReference>();
    let is_file = reference.is_ok_and(|one| matches!(one.location, Location::File(_)));
    is_file && request.upload.is_empty()
}

pub(super) async fn load_image(
    context: &Context,
    request: &LoadImageRequest,
) -> Result<Option<Outcome>, Fault> {
    let held = context.hold(&request.upload)?;
    let mut wanted = load_request(request)?;
    if let (Some(held), LoadSource::Bundle(bundle)) = (&held, &wanted.source) {
        let signature = given(&request.signature);
        wanted.source = LoadSource::Bundle(bundle.clone().brought_to(&held.file, signature));
    }
    let images = &context.backend.images;
    let loading = images.load(wanted, context.journal.as_ref());
    let image = match context.phase(PhaseKind::Pull, loading).await {
        Ok(image) => image,
        Err(PullError::AlreadyExists { name }) if context.is_resumed() => {
            let is_same = |found: &Image| matches!(found.origin, ImageOrigin::Bundle { .. });
            let own = context.own_image(&name, is_same).await?;
            own.ok_or(PullError::AlreadyExists { name })?
        }
        Err(error) => return Err(error.into()),
    };
    Ok(Some(Outcome::Image(convert::image::image(&image))))
}
