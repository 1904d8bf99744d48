//! Work on images and kernels.

use banger_api::v1::{
    DeleteImageRequest, DeleteKernelRequest, ImportKernelRequest, PhaseKind, PullImageRequest,
    PullKernelRequest, operation::Outcome,
};
use banger_core::{
    domain::{Bytes, Image, ImageName, ImageOrigin, Kernel, KernelName, Selector},
    image::{DeleteImageError, ImageQueryError, PullError, PullRequest},
    kernel::{
        DeleteKernelError, ImportKernelError, KernelQueryError, KernelSelection, KernelSource,
    },
};

use super::{images::given_path, work::Context};
use crate::{
    convert,
    fault::Fault,
    request::{Checks, name::KERNELS, source},
};

type Outcomes = Result<Option<Outcome>, Fault>;

/// What the core is to pull. Pure.
pub(crate) fn pull_request(request: &PullImageRequest) -> Result<PullRequest, Fault> {
    let mut checks = Checks::default();
    let reference = if request.upload.is_empty() {
        source::image(&request.reference, &mut checks)
    } else {
        source::image_elsewhere(&request.reference, &mut checks)
    };
    let name = checks.parse_given::<ImageName>("image_id", &request.image_id);
    let kernel = KERNELS.id("kernel", &request.kernel, &mut checks);
    let kernel = kernel.and_then(|id| checks.parse::<KernelName>("kernel", id));
    if !request.containerfile.is_empty() && request.upload.is_empty() {
        checks.violated("containerfile", "is of no upload");
    }
    let containerfile = given_path("containerfile", &request.containerfile, &mut checks);
    checks.finish()?;
    // it is there, or the checks had not finished
    let reference = reference.ok_or_else(|| Fault::invalid(Vec::new()))?;
    Ok(PullRequest {
        reference,
        name,
        kernel: KernelSelection {
            name: kernel,
            ..KernelSelection::default()
        },
        size: (request.disk_bytes != 0).then(|| Bytes::new(request.disk_bytes)),
        containerfile,
    })
}

pub(super) async fn pull_image(context: &Context, request: &PullImageRequest) -> Outcomes {
    let held = context.hold(&request.upload)?;
    let mut request = pull_request(request)?;
    if let Some(held) = &held {
        request.reference = request.reference.brought_to(&held.file);
    }
    let reference = request.reference.to_string();
    let containerfile = request.containerfile.clone();
    let images = &context.backend.images;
    let pulling = images.pull(request, context.journal.as_ref());
    let pulled = context.phase(PhaseKind::Pull, pulling).await;
    let image = match pulled {
        Ok(image) => image,
        Err(PullError::AlreadyExists { name }) if context.is_resumed() => {
            let is_same = |found: &Image| match &found.origin {
                ImageOrigin::Oci { reference: of, .. } => *of == reference,
                ImageOrigin::Containerfile { path, .. } => Some(path) == containerfile.as_ref(),
                _ => false,
            };
            let own = context.own_image(&name, is_same).await?;
            own.ok_or(PullError::AlreadyExists { name })?
        }
        Err(error) => return Err(error.into()),
    };
    Ok(Some(Outcome::Image(convert::image::image(&image))))
}

pub(super) async fn delete_image(context: &Context, request: &DeleteImageRequest) -> Outcomes {
    let Some(id) = settled(&request.name, "images/") else {
        return Ok(None);
    };
    let selector = Selector::from(id);
    let deleting = context.backend.images.delete(&selector);
    match context.phase(PhaseKind::Delete, deleting).await {
        Ok(image) => Ok(Some(Outcome::Image(convert::image::image(&image)))),
        Err(DeleteImageError::Query(ImageQueryError::NotFound { .. }))
            if request.allow_missing || context.is_resumed() =>
        {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// What the core is to import. Pure.
pub(crate) fn import_request(
    request: &ImportKernelRequest,
) -> Result<(KernelSource, Option<KernelName>), Fault> {
    let mut checks = Checks::default();
    let source = if request.upload.is_empty() {
        source::kernel(&request.source, &mut checks)
    } else {
        source::kernel_elsewhere(&request.source, &mut checks)
    };
    source::signature(&request.signature, &mut checks);
    let name = checks.parse_given::<KernelName>("kernel_id", &request.kernel_id);
    checks.finish()?;
    // it is there, or the checks had not finished
    let source = source.ok_or_else(|| Fault::invalid(Vec::new()))?;
    Ok((source, name))
}

pub(super) async fn import_kernel(context: &Context, request: &ImportKernelRequest) -> Outcomes {
    let held = context.hold(&request.upload)?;
    let (mut source, name) = import_request(request)?;
    if let Some(held) = &held {
        source = source.brought_to(&held.file, given(&request.signature));
    }
    let kernels = &context.backend.kernels;
    let importing = kernels.import(&source, name, context.journal.as_ref());
    let kernel = match context.phase(PhaseKind::Import, importing).await {
        Ok(kernel) => kernel,
        Err(ImportKernelError::AlreadyExists { name }) if context.is_resumed() => {
            let found = kernels.show(&name).await?;
            if !is_imported_here(context, &found) {
                return Err(ImportKernelError::AlreadyExists { name }.into());
            }
            found
        }
        Err(error) => {
            let fault = Fault::from(error);
            let Some(held) = &held else {
                return Err(fault);
            };
            // the client knows its own path, and no other
            let called = source::path(&request.source);
            return Err(fault.renamed(held.file.as_str(), called));
        }
    };
    Ok(Some(Outcome::Kernel(convert::kernel::kernel(&kernel))))
}

/// A text, if there is one.
pub(super) fn given(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

pub(super) async fn pull_kernel(context: &Context, request: &PullKernelRequest) -> Outcomes {
    let mut checks = Checks::default();
    let name = KERNELS.id("name", &request.name, &mut checks);
    let name = name.and_then(|id| checks.parse::<KernelName>("name", id));
    checks.finish()?;
    let name = name.ok_or_else(|| Fault::invalid(Vec::new()))?;
    let kernels = &context.backend.kernels;
    if context.is_resumed()
        && let Ok(found) = kernels.show(&name).await
        && is_imported_here(context, &found)
    {
        // with force, one that a server got which is gone would be fetched again
        return Ok(Some(Outcome::Kernel(convert::kernel::kernel(&found))));
    }
    let pulling = kernels.pull(&name, request.force, context.journal.as_ref());
    let kernel = context.phase(PhaseKind::Import, pulling).await?;
    Ok(Some(Outcome::Kernel(convert::kernel::kernel(&kernel))))
}

/// Whether a kernel appeared since the operation began.
fn is_imported_here(context: &Context, kernel: &Kernel) -> bool {
    context.operation.created <= kernel.imported
}

pub(super) async fn delete_kernel(context: &Context, request: &DeleteKernelRequest) -> Outcomes {
    let Some(id) = settled(&request.name, "kernels/") else {
        return Ok(None);
    };
    let mut checks = Checks::default();
    let name = checks.parse::<KernelName>("name", id);
    checks.finish()?;
    let name = name.ok_or_else(|| Fault::invalid(Vec::new()))?;
    let kernels = &context.backend.kernels;
    match kernels.show(&name).await {
        // another one of that name is not the one that was meant
        Ok(kernel) if context.is_resumed() && is_imported_here(context, &kernel) => {
            return Ok(None);
        }
        Ok(_) | Err(KernelQueryError::NotFound { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    match context
        .phase(PhaseKind::Delete, kernels.delete(&name))
        .await
    {
        Ok(kernel) => Ok(Some(Outcome::Kernel(convert::kernel::kernel(&kernel)))),
        Err(DeleteKernelError::NotFound { .. })
            if request.allow_missing || context.is_resumed() =>
        {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// The id in a name that was settled when the operation began; none when there was no
/// such object then, and that was fine.
pub(super) fn settled<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    name.strip_prefix(prefix)
}
