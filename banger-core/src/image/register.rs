//! Registering an image whose files belong to the user.
//!
//! Invariants: every problem is reported at once, before anything is recorded;
//! the files are neither copied nor changed.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use camino::Utf8Path;

use super::{
    LocalImageManager, RegisterError, RegisterRequest,
    validate::{PathProblem, rootfs_problem, settle},
};
use crate::{
    domain::{
        Bytes, DiskProvenance, Image, ImageId, ImageOrigin, ImageSizes, ResolvedKernel, RunConfig,
    },
    host_fs::{IoContext as _, PathError, disk_usage},
    kernel::ResolveKernelError,
    progress::NoProgress,
    store::InsertError,
};

/// Where an ext4 disk says what it is, and what it says (the kernel's
/// `Documentation/filesystems/ext4/super.rst`, `s_magic`).
const MAGIC_OFFSET: u64 = 1024 + 0x38;
const MAGIC: [u8; 2] = 0xef53_u16.to_le_bytes();

pub(super) async fn register(
    manager: &LocalImageManager,
    request: RegisterRequest,
) -> Result<Image, RegisterError> {
    let name = request.name.clone();
    let kernel = manager
        .options
        .kernels
        .resolve(&request.kernel, &NoProgress)
        .await;
    let kernel = check(&request, kernel)?;
    let sizes = sizes(&request.rootfs).map_err(|source| RegisterError::Io {
        name: name.clone(),
        source,
    })?;
    let now = manager.options.clock.now();
    let image = Image {
        id: ImageId::generate(),
        name: request.name,
        artifact_directory: None,
        rootfs: request.rootfs,
        boot: kernel.boot,
        kernel: kernel.name,
        origin: ImageOrigin::Registered,
        run_config: RunConfig::default(),
        sizes,
        package_hash: None,
        disk: DiskProvenance::default(),
        verdict: None,
        created: now,
        updated: now,
    };
    match manager.options.store.insert_image(&image).await {
        Ok(()) => Ok(image),
        Err(InsertError::Taken) => Err(RegisterError::AlreadyExists { name }),
        Err(InsertError::Store(source)) => Err(RegisterError::Store { name, source }),
    }
}

/// The kernel, unless something is wrong with it or with the disk.
fn check(
    request: &RegisterRequest,
    kernel: Result<ResolvedKernel, ResolveKernelError>,
) -> Result<ResolvedKernel, RegisterError> {
    let mut problems: Vec<PathProblem> = disk_problem(&request.rootfs).into_iter().collect();
    if let Err(ResolveKernelError::Invalid(error)) = &kernel {
        problems.extend_from_slice(error.problems());
    }
    settle(problems).map_err(|source| RegisterError::Invalid {
        name: request.name.clone(),
        source,
    })?;
    kernel.map_err(|source| RegisterError::Kernel {
        name: request.name.clone(),
        source,
    })
}

fn disk_problem(path: &Utf8Path) -> Option<PathProblem> {
    rootfs_problem(path).or_else(|| {
        let problem = match is_ext4(path) {
            Ok(true) => return None,
            Ok(false) => "is no ext4 file system".to_owned(),
            Err(error) => format!("cannot be read: {error}"),
        };
        Some(PathProblem {
            role: "rootfs",
            path: path.to_owned(),
            problem,
            hint: "give a file that holds an ext4 file system, without partitions",
        })
    })
}

pub(super) fn is_ext4(path: &Utf8Path) -> io::Result<bool> {
    let mut magic = [0; 2];
    match File::open(path)?.read_exact_at(&mut magic, MAGIC_OFFSET) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| magic == MAGIC),
    }
}

pub(super) fn sizes(rootfs: &Utf8Path) -> Result<ImageSizes, PathError> {
    let metadata = rootfs.metadata().at("inspect", rootfs)?;
    Ok(ImageSizes {
        apparent: Bytes::new(metadata.len()),
        on_disk: disk_usage(rootfs)?,
    })
}
