//! Work on images that are there, and on the cache.

use banger_api::v1::{
    PhaseKind, PromoteImageRequest, PruneImageCacheRequest, RegisterImageRequest,
    operation::Outcome, register_image_request::Boot,
};
use banger_core::{
    domain::{Bytes, Image, ImageName, ImageOrigin, KernelName, Selector},
    image::{PromoteError, PruneRequest, RegisterError, RegisterRequest},
    kernel::{KernelPaths, KernelSelection},
};
use camino::Utf8PathBuf;

use super::{artifacts::settled, work::Context};
use crate::{
    convert::{self, image_disk},
    fault::Fault,
    request::{Checks, name::KERNELS},
};

type Outcomes = Result<Option<Outcome>, Fault>;

#[expect(
    clippy::unnecessary_wraps,
    reason = "it is what every sort of work ends with"
)]
fn made(image: &Image) -> Outcomes {
    Ok(Some(Outcome::Image(convert::image::image(image))))
}

/// An absolute path; none when the text is empty or wrong.
fn host_path(field: &str, text: &str, checks: &mut Checks) -> Option<Utf8PathBuf> {
    let path = Utf8PathBuf::from(text);
    if path.is_absolute() && !text.contains('\0') {
        return Some(path);
    }
    checks.violated(field, "is no absolute path");
    None
}

/// The same of one that may be missing.
pub(super) fn given_path(field: &str, text: &str, checks: &mut Checks) -> Option<Utf8PathBuf> {
    (!text.is_empty()).then_some(())?;
    host_path(field, text, checks)
}

fn kernel(boot: Option<&Boot>, checks: &mut Checks) -> KernelSelection {
    let mut selection = KernelSelection::default();
    match boot {
        Some(Boot::Kernel(name)) => {
            let id = KERNELS.id("kernel", name, checks);
            selection.name = id.and_then(|id| checks.parse::<KernelName>("kernel", id));
        }
        Some(Boot::BootFiles(files)) => {
            selection.paths = KernelPaths {
                kernel: host_path("boot_files.kernel", &files.kernel, checks),
                initrd: given_path("boot_files.initrd", &files.initrd, checks),
                modules: given_path("boot_files.modules", &files.modules, checks),
            };
        }
        None => checks.violated("boot", "is missing"),
    }
    selection
}

/// What the core is to register. Pure.
pub(crate) fn register_request(request: &RegisterImageRequest) -> Result<RegisterRequest, Fault> {
    let mut checks = Checks::default();
    let name = checks.parse::<ImageName>("image_id", &request.image_id);
    let rootfs = host_path("rootfs", &request.rootfs, &mut checks);
    let kernel = kernel(request.boot.as_ref(), &mut checks);
    checks.finish()?;
    // they are there, or the checks had not finished
    let (Some(name), Some(rootfs)) = (name, rootfs) else {
        return Err(Fault::invalid(Vec::new()));
    };
    Ok(RegisterRequest {
        name,
        rootfs,
        kernel,
    })
}

pub(super) async fn register(context: &Context, request: &RegisterImageRequest) -> Outcomes {
    let request = register_request(request)?;
    let rootfs = request.rootfs.clone();
    let images = &context.backend.images;
    let registering = context.phase(PhaseKind::Keep, images.register(request));
    match registering.await {
        Ok(image) => made(&image),
        Err(RegisterError::AlreadyExists { name }) if context.is_resumed() => {
            let is_same =
                |found: &Image| found.origin == ImageOrigin::Registered && found.rootfs == rootfs;
            let own = context.own_image(&name, is_same).await?;
            made(&own.ok_or(RegisterError::AlreadyExists { name })?)
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn promote(context: &Context, request: &PromoteImageRequest) -> Outcomes {
    let id = Selector::from(settled(&request.name, "images/").unwrap_or_default());
    let images = &context.backend.images;
    match context.phase(PhaseKind::Keep, images.promote(&id)).await {
        Ok(image) => made(&image),
        Err(PromoteError::Managed { name }) if context.is_resumed() => {
            let found = images.show(&id).await?;
            if context.operation.created <= found.updated {
                return made(&found);
            }
            Err(PromoteError::Managed { name }.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// What the core is to prune. Pure.
pub(crate) fn prune_request(request: &PruneImageCacheRequest) -> Result<PruneRequest, Fault> {
    let mut checks = Checks::default();
    let older_than = checks.duration("older_than", request.older_than);
    checks.finish()?;
    Ok(PruneRequest {
        dry_run: request.dry_run,
        all: request.all,
        older_than,
        max_size: request.max_cache_bytes.map(Bytes::new),
    })
}

pub(super) async fn prune(context: &Context, request: &PruneImageCacheRequest) -> Outcomes {
    let pruning = context.backend.images.prune(prune_request(request)?);
    let pruned = context.phase(PhaseKind::Delete, pruning).await?;
    let pruned = image_disk::pruned(&pruned);
    Ok(Some(Outcome::PrunedImageCache(pruned)))
}
