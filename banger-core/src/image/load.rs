//! Making an image of a bundle.
//!
//! Invariants: those of a pull, whose staging, locks and publication these
//! are; a bundle is verified before it is unpacked, and every file of it as it
//! is written; what a user's own kernel replaces is not unpacked.

use camino::Utf8Path;
use tokio_util::sync::CancellationToken;

use super::{
    LoadRequest, LoadSource, LocalImageManager, PullError,
    artifacts::staged_boot_artifacts,
    keep::{Keeper, ROOTFS_FILE},
    register::{is_ext4, sizes},
    stage_boot_artifacts,
};
use crate::{
    bundle::{BundleError, BundlePath, BundleReference, Content, Opened, Unpacked},
    catalog::{EntrySource, SupplyError},
    domain::{
        BootArtifacts, Bytes, DiskMethod, DiskProvenance, Image, ImageId, ImageName, ImageOrigin,
        ImageSizes, ResolvedKernel, RunConfig, Verdict,
    },
    host_fs::{PathError, Staging},
    kernel::{KernelSelection, vmlinux::check_vmlinux},
    progress::{ProgressEvent, ProgressSink},
    task::telling,
    trust::Admission,
};

/// A bundle that is wanted.
struct Wanted {
    reference: BundleReference,
    size: Option<Bytes>,
}

/// A bundle of an image.
#[derive(Clone)]
struct Loading {
    opened: Opened,
    name: ImageName,
    run_config: RunConfig,
    package_hash: Option<String>,
    verdict: Option<Verdict>,
}

/// What a staging directory was filled with.
struct Filled {
    staging: Staging,
    unpacked: Unpacked,
    sizes: ImageSizes,
}

enum FillError {
    Bundle(BundleError),
    Io(PathError),
}

pub(super) async fn load(
    manager: &LocalImageManager,
    request: LoadRequest,
    progress: &dyn ProgressSink,
) -> Result<Image, PullError> {
    if let Some(name) = request.known_name() {
        manager.name_is_free(name).await?;
    }
    let wanted = find(manager, &request.source).await?;
    let loading = open(manager, &request, &wanted, progress).await?;
    let name = &loading.name;
    let kernel = kernel(manager, &request.kernel, &loading, progress).await?;
    let keeper = Keeper { manager, name };
    let _name_lock = keeper.lock_name().await?;
    manager.name_is_free(name).await?;
    let id = ImageId::generate();
    let staging = keeper.stage(id).await?;
    let own_kernel = kernel.as_ref().map(|kernel| kernel.boot.clone());
    let opened = loading.opened.clone();
    let filled = telling(progress, move |progress, cancelled| {
        fill(staging, &opened, own_kernel.as_ref(), (progress, cancelled))
    });
    let filled = filled.await.map_err(|error| match error {
        FillError::Bundle(source) => failed(&wanted.reference)(source.into()),
        FillError::Io(source) => keeper.io(source),
    })?;
    let reference = BundleReference {
        digest: Some(filled.unpacked.sha256),
        ..wanted.reference
    };
    let record = record(manager, id, &reference, &filled, (loading.clone(), kernel));
    keeper.publish(filled.staging, record).await
}

/// Where the bundle is.
async fn find(manager: &LocalImageManager, source: &LoadSource) -> Result<Wanted, PullError> {
    let name = match source {
        LoadSource::Bundle(reference) => {
            return Ok(Wanted {
                reference: reference.clone(),
                size: None,
            });
        }
        LoadSource::Catalog(name) => name,
    };
    let found = manager.options.supply.catalogs.image(name).await;
    let found = found.map_err(|source| PullError::Load {
        what: format!("image {name}"),
        source: source.into(),
    })?;
    match found.map(|entry| entry.source) {
        Some(EntrySource::Bundle { reference, size }) => Ok(Wanted {
            reference,
            size: Some(size),
        }),
        _ => Err(PullError::NotInCatalog { name: name.clone() }),
    }
}

/// Opens the bundle, which the policy let in, and checks what it is.
async fn open(
    manager: &LocalImageManager,
    request: &LoadRequest,
    wanted: &Wanted,
    progress: &dyn ProgressSink,
) -> Result<Loading, PullError> {
    let failed = failed(&wanted.reference);
    let supply = &manager.options.supply;
    let place = wanted.reference.place();
    let (subject, untagged) = wanted.reference.subjects();
    let admission = Admission::of(supply.policy.images.as_ref(), &subject, Some(&untagged))
        .map_err(|error| failed(error.into()))?;
    progress.emit(ProgressEvent::Resolving {
        reference: wanted.reference.to_string(),
    });
    let opened = supply.open(&wanted.reference, wanted.size, &admission, progress);
    let opened = opened.await.map_err(&failed)?;
    let unsupported = |problem: String| {
        failed(SupplyError::Bundle(BundleError::Unsupported {
            location: place.clone(),
            problem,
        }))
    };
    let here = std::env::consts::ARCH;
    let manifest = opened.manifest().clone();
    if manifest.architecture != here {
        let there = &manifest.architecture;
        return Err(unsupported(format!("it is for {there}, not for {here}")));
    }
    let Content::Image {
        name,
        run_config,
        package_hash,
    } = manifest.content
    else {
        return Err(unsupported("it holds a kernel and no image".to_owned()));
    };
    Ok(Loading {
        opened,
        name: request.known_name().cloned().unwrap_or(name),
        run_config,
        package_hash,
        verdict: admission.verdict(),
    })
}

/// The kernel that was chosen; none when the bundle's own is to be used.
async fn kernel(
    manager: &LocalImageManager,
    selection: &KernelSelection,
    loading: &Loading,
    progress: &dyn ProgressSink,
) -> Result<Option<ResolvedKernel>, PullError> {
    let has_own = loading
        .opened
        .manifest()
        .file(&BundlePath::Kernel)
        .is_some();
    if has_own && selection.is_empty() {
        return Ok(None);
    }
    let resolved = manager.options.kernels.resolve(selection, progress).await;
    resolved.map(Some).map_err(|source| PullError::Kernel {
        name: loading.name.clone(),
        source,
    })
}

/// Unpacks into the staging directory, on a thread that owns it meanwhile.
fn fill(
    staging: Staging,
    opened: &Opened,
    own_kernel: Option<&BootArtifacts>,
    (progress, cancelled): (&dyn ProgressSink, &CancellationToken),
) -> Result<Filled, FillError> {
    let directory = staging.path();
    let wanted = |path: &BundlePath| *path == BundlePath::Rootfs || own_kernel.is_none();
    let unpacked = opened
        .unpack(directory, wanted, progress, cancelled)
        .map_err(FillError::Bundle)?;
    if let Some(boot) = own_kernel {
        progress.emit(ProgressEvent::StagingKernel);
        stage_boot_artifacts(boot, directory).map_err(FillError::Io)?;
    }
    let disk = directory.join(ROOTFS_FILE);
    check(opened, &disk, own_kernel.is_none(), directory)?;
    let sizes = sizes(&disk).map_err(FillError::Io)?;
    if cancelled.is_cancelled() {
        return Err(FillError::Bundle(BundleError::Cancelled));
    }
    Ok(Filled {
        staging,
        unpacked,
        sizes,
    })
}

/// What was signed and hashed may still be no disk and no kernel.
fn check(
    opened: &Opened,
    disk: &Utf8Path,
    has_own: bool,
    directory: &Utf8Path,
) -> Result<(), FillError> {
    let malformed =
        |problem: String| FillError::Bundle(BundleError::malformed(&opened.location(), problem));
    if !is_ext4(disk).is_ok_and(|is_ext4| is_ext4) {
        return Err(malformed("its disk is no ext4 file system".to_owned()));
    }
    match opened.boot_in(directory) {
        Some(boot) if has_own => check_vmlinux(&boot.kernel)
            .map_err(|problem| malformed(format!("its kernel {problem}"))),
        _ => Ok(()),
    }
}

fn record(
    manager: &LocalImageManager,
    id: ImageId,
    reference: &BundleReference,
    filled: &Filled,
    (loading, kernel): (Loading, Option<ResolvedKernel>),
) -> Image {
    let directory = manager.options.directories.image(id);
    let now = manager.options.clock.now();
    let own = || loading.opened.boot_in(&directory).unwrap_or_default();
    let boot = kernel.as_ref().map_or_else(own, |kernel| {
        staged_boot_artifacts(&kernel.boot, &directory)
    });
    Image {
        id,
        name: loading.name,
        rootfs: directory.join(ROOTFS_FILE),
        boot,
        artifact_directory: Some(directory),
        kernel: kernel.and_then(|kernel| kernel.name),
        origin: ImageOrigin::Bundle {
            reference: reference.to_string(),
            sha256: filled.unpacked.sha256,
        },
        run_config: loading.run_config,
        sizes: filled.sizes,
        package_hash: loading.package_hash,
        disk: DiskProvenance {
            method: Some(DiskMethod::Copied),
            ..DiskProvenance::default()
        },
        verdict: loading.verdict,
        created: now,
        updated: now,
    }
}

fn failed(reference: &BundleReference) -> impl Fn(SupplyError) -> PullError {
    let what = format!("an image from {}", reference.location);
    move |source| PullError::Load {
        what: what.clone(),
        source,
    }
}
