//! The volumes of a VM: checked when it is made, attached when it boots.
//!
//! Invariants: a disk of the user is attached for reading alone; a directory is
//! read once, when the VM is made, into a disk of the VM's own; whoever runs the
//! machine holds the lock on each named volume, alone when the guest may write.
//! Entry points: [`resolve`], [`make_disks`], [`attach`], [`lock`].

use std::{
    collections::BTreeSet,
    fs::File,
    os::unix::fs::FileExt as _,
    path::{Component, Path},
};

use banger_proto::guest::v1 as wire;
use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use super::{PrepareBootError, files::VmFiles, supervisor::Host};
use crate::{
    directories::Directories,
    domain::{Vm, VmVolume, VolumeName, VolumeSource},
    error::ErrorKind,
    host_fs::{FileLock, IoContext as _, PathError},
    rootfs::{RootfsError, disk_of_directory},
    step::reached,
    store::StoreError,
    task::attended,
    vmm::Disk,
};

/// Most volumes of a VM: a microVM has few places for devices.
const MOST: usize = 8;
/// Longest path of Linux, without its end.
const PATH_LIMIT: usize = 4095;
/// Where the guest's kernel keeps what is its own.
const KERNELS_OWN: [&str; 2] = ["/proc", "/sys"];
/// Where an ext4 superblock has its magic number, and the number (the kernel's
/// `Documentation/filesystems/ext4/super.rst`).
const MAGIC_AT: u64 = 1024 + 0x38;
const MAGIC: [u8; 2] = [0x53, 0xef];

/// A volume that a VM shall have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeRequest {
    /// What it is.
    pub source: RequestedSource,
    /// Absolute path in the guest at which it is found; made when it is missing.
    pub target: String,
    /// Whether the guest shall only read it.
    pub read_only: bool,
}

/// What a wanted volume is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestedSource {
    /// A named volume, which exists.
    Named(VolumeName),
    /// A directory of the host, of which the VM gets a copy when it is made; or
    /// a disk in a file, which it can only read. A file that holds no ext4 file
    /// system is not mounted: the path in the guest leads to the device.
    Path(Utf8PathBuf),
}

/// A VM cannot have a volume.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VmVolumeError {
    /// There is no volume of that name.
    #[error("volume {name} does not exist")]
    NotFound {
        /// The name.
        name: VolumeName,
    },
    /// There is nothing at that path.
    #[error("{path} does not exist")]
    PathMissing {
        /// The path on the host.
        path: Utf8PathBuf,
    },
    /// A disk of the user can only be read.
    #[error("{path} is a file: a disk in a file can only be read")]
    NotReadOnly {
        /// The file.
        path: Utf8PathBuf,
    },
    /// Neither directory nor regular file.
    #[error("{path} is neither a directory nor a file")]
    NeitherDirectoryNorFile {
        /// The path on the host.
        path: Utf8PathBuf,
    },
    /// Nothing can be found at that path of the guest.
    #[error("a volume cannot be at {target:?}: {problem}")]
    Target {
        /// The path in the guest.
        target: String,
        /// Why.
        problem: &'static str,
    },
    /// There are more than a VM can have.
    #[error("{count} volumes are more than the {most} a VM can have")]
    TooMany {
        /// How many were asked for.
        count: usize,
        /// How many are possible.
        most: usize,
    },
    /// A directory could not be copied.
    #[error("failed to copy {path} to a disk")]
    Copy {
        /// The directory.
        path: Utf8PathBuf,
        /// The cause.
        source: Box<RootfsError>,
    },
    /// A host file failed.
    #[error("failed to look at a volume")]
    Io(#[from] PathError),
    /// The store failed.
    #[error("failed to look up a volume")]
    Store(#[source] StoreError),
}

impl VmVolumeError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } | Self::PathMissing { .. } => ErrorKind::NotFound,
            Self::NotReadOnly { .. }
            | Self::NeitherDirectoryNorFile { .. }
            | Self::Target { .. }
            | Self::TooMany { .. } => ErrorKind::InvalidInput,
            Self::Copy { source, .. } => source.kind(),
            Self::Io(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }
}

/// What the wanted volumes are, all of them there.
pub(super) async fn resolve(
    host: &Host,
    requests: &[VolumeRequest],
) -> Result<Vec<VmVolume>, VmVolumeError> {
    check_targets(requests)?;
    let mut volumes = Vec::with_capacity(requests.len());
    for request in requests {
        volumes.push(VmVolume {
            source: resolve_source(host, request).await?,
            target: request.target.clone(),
            read_only: request.read_only,
        });
    }
    Ok(volumes)
}

async fn resolve_source(
    host: &Host,
    request: &VolumeRequest,
) -> Result<VolumeSource, VmVolumeError> {
    match &request.source {
        RequestedSource::Named(name) => match host.store().volume(name).await {
            Ok(Some(_)) => Ok(VolumeSource::Named(name.clone())),
            Ok(None) => Err(VmVolumeError::NotFound { name: name.clone() }),
            Err(error) => Err(VmVolumeError::Store(error)),
        },
        RequestedSource::Path(path) => of_path(path, request.read_only),
    }
}

fn of_path(path: &Utf8Path, read_only: bool) -> Result<VolumeSource, VmVolumeError> {
    let path = path.to_owned();
    let metadata = match path.metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(VmVolumeError::PathMissing { path });
        }
        metadata => metadata.at("inspect", &path)?,
    };
    match (metadata.is_dir(), metadata.is_file(), read_only) {
        (true, ..) => Ok(VolumeSource::Directory(path)),
        (_, true, true) => Ok(VolumeSource::Disk(path)),
        (_, true, false) => Err(VmVolumeError::NotReadOnly { path }),
        _ => Err(VmVolumeError::NeitherDirectoryNorFile { path }),
    }
}

/// Refuses paths of the guest at which nothing can be found. Pure.
fn check_targets(requests: &[VolumeRequest]) -> Result<(), VmVolumeError> {
    if MOST < requests.len() {
        return Err(VmVolumeError::TooMany {
            count: requests.len(),
            most: MOST,
        });
    }
    let mut taken = BTreeSet::new();
    for request in requests {
        let target = &request.target;
        let problem = target_problem(target).or_else(|| {
            let is_new = taken.insert(Path::new(target).components().collect::<Vec<_>>());
            (!is_new).then_some("another volume is there")
        });
        if let Some(problem) = problem {
            let target = target.clone();
            return Err(VmVolumeError::Target { target, problem });
        }
    }
    Ok(())
}

fn target_problem(target: &str) -> Option<&'static str> {
    let path = Path::new(target);
    let mut parts = path.components();
    if parts.next() != Some(Component::RootDir) || target.contains('\0') {
        return Some("it must be an absolute path");
    }
    if parts.clone().next().is_none() {
        return Some("the root file system is there");
    }
    if !parts.all(|part| matches!(part, Component::Normal(_))) {
        return Some("it must not contain `..`");
    }
    if PATH_LIMIT < target.len() {
        return Some("it is too long");
    }
    let is_kernels = KERNELS_OWN.iter().any(|own| path.starts_with(own));
    is_kernels.then_some("the kernel's own files are there")
}

/// Makes the disks of directories that are copied.
pub(super) async fn make_disks(host: &Host, vm: &Vm) -> Result<(), VmVolumeError> {
    let files = host.files(vm.id);
    for (index, volume) in vm.spec.volumes.iter().enumerate() {
        let VolumeSource::Directory(path) = &volume.source else {
            continue;
        };
        let (from, to) = (path.clone(), files.volume_disk(index));
        let uuid = uuid::Uuid::now_v7().into_bytes();
        let copied = attended(move |cancel| disk_of_directory(&from, &to, uuid, cancel)).await;
        copied.map_err(|source| VmVolumeError::Copy {
            path: path.clone(),
            source: Box::new(source),
        })?;
        reached("copied a directory to a volume");
    }
    Ok(())
}

/// What a boot is told of a VM's volumes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Attached {
    /// The machine's disks.
    pub(super) disks: Vec<Disk>,
    /// What the guest is to do with them.
    pub(super) guest: Vec<wire::Volume>,
    /// What is to be locked meanwhile.
    pub(super) locks: Vec<VolumeLock>,
}

/// A disk that is locked while a machine uses it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VolumeLock {
    /// The volume, as it is told to users.
    pub(super) name: String,
    /// The path of its disk.
    pub(super) disk: String,
    /// Whether nobody else may use it.
    pub(super) exclusive: bool,
}

/// Attaches a VM's volumes. Reads a few bytes of each disk.
pub(super) fn attach(
    directories: &Directories,
    files: &VmFiles,
    volumes: &[VmVolume],
) -> Result<Attached, PrepareBootError> {
    let mut attached = Attached::default();
    for (index, volume) in volumes.iter().enumerate() {
        let serial = format!("banger-volume-{index}");
        let path = match &volume.source {
            VolumeSource::Named(name) => directories.volume_disk(name),
            VolumeSource::Disk(path) => path.clone(),
            VolumeSource::Directory(_) => files.volume_disk(index),
        };
        if let VolumeSource::Named(name) = &volume.source {
            attached.locks.push(VolumeLock {
                name: name.to_string(),
                disk: path.to_string(),
                exclusive: !volume.read_only,
            });
        }
        attached.guest.push(wire::Volume {
            serial: serial.clone(),
            path: volume.target.clone(),
            read_only: volume.read_only,
            raw: !is_ext4(&path)?,
        });
        attached.disks.push(Disk {
            path,
            serial,
            read_only: volume.read_only,
        });
    }
    Ok(attached)
}

fn is_ext4(disk: &Utf8Path) -> Result<bool, PrepareBootError> {
    let file = match File::open(disk) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(PrepareBootError::VolumeMissing {
                path: disk.to_owned(),
            });
        }
        file => file.at("open", disk)?,
    };
    let mut magic = [0; 2];
    Ok(file.read_exact_at(&mut magic, MAGIC_AT).is_ok() && magic == MAGIC)
}

/// Locks volumes for as long as the answer lives; the error is for users.
pub(super) fn lock(volumes: &[VolumeLock]) -> Result<Vec<FileLock>, LockVolumeError> {
    let lock_one = |volume: &VolumeLock| {
        let disk = Utf8Path::new(&volume.disk);
        let taken = if volume.exclusive {
            FileLock::try_acquire_existing(disk)
        } else {
            FileLock::try_share_existing(disk)
        };
        let taken = taken?;
        reached("tried to lock a volume");
        taken.ok_or_else(|| LockVolumeError::InUse {
            name: volume.name.clone(),
            by: if volume.exclusive {
                "used by another VM"
            } else {
                "written by another VM"
            },
        })
    };
    volumes.iter().map(lock_one).collect()
}

/// A volume could not be locked.
#[derive(Debug, thiserror::Error)]
pub(super) enum LockVolumeError {
    /// Another machine uses it.
    #[error("volume {name} is {by}")]
    InUse { name: String, by: &'static str },
    /// Its disk cannot be opened.
    #[error(transparent)]
    Io(#[from] PathError),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(target: &str) -> VolumeRequest {
        VolumeRequest {
            source: RequestedSource::Path("/".into()),
            target: target.to_owned(),
            read_only: false,
        }
    }

    #[test]
    fn a_volume_has_a_place_of_its_own() {
        let refused = |targets: &[&str]| {
            let requests: Vec<_> = targets.iter().map(|target| request(target)).collect();
            match check_targets(&requests) {
                Err(VmVolumeError::Target { problem, .. }) => Some(problem),
                Err(error) => panic!("{error:?}"),
                Ok(()) => None,
            }
        };
        assert_eq!(refused(&["/srv", "/srv/data", "/dev/data"]), None);
        assert_eq!(refused(&["srv"]), Some("it must be an absolute path"));
        assert_eq!(refused(&["/./"]), Some("the root file system is there"));
        assert_eq!(refused(&["/srv/.."]), Some("it must not contain `..`"));
        assert_eq!(
            refused(&["/sys/x"]),
            Some("the kernel's own files are there")
        );
        assert_eq!(refused(&["/a", "/a/"]), Some("another volume is there"));
        let many = vec![request("/a"); MOST + 1];
        assert!(matches!(
            check_targets(&many),
            Err(VmVolumeError::TooMany { count: 9, most: 8 })
        ));
    }

    #[test]
    fn a_path_is_a_directory_or_a_disk_to_read() {
        let directory = of_path(Utf8Path::new("/etc"), false).unwrap();
        assert_eq!(directory, VolumeSource::Directory("/etc".into()));
        let file = Utf8Path::new("/etc/passwd");
        assert_eq!(
            of_path(file, true).unwrap(),
            VolumeSource::Disk(file.to_owned())
        );
        let refused = of_path(file, false).unwrap_err();
        assert!(matches!(refused, VmVolumeError::NotReadOnly { .. }));
        let missing = of_path(Utf8Path::new("/nowhere"), true).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        let device = of_path(Utf8Path::new("/dev/null"), true).unwrap_err();
        assert_eq!(device.kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn one_writes_or_several_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let volume = |exclusive| VolumeLock {
            name: "data".to_owned(),
            disk: file.path().to_str().unwrap().to_owned(),
            exclusive,
        };
        let reader = lock(&[volume(false)]).unwrap();
        let other = lock(&[volume(false)]).unwrap();
        let refused = lock(&[volume(true)]).unwrap_err();
        assert_eq!(refused.to_string(), "volume data is used by another VM");
        drop((reader, other));
        let _writer = lock(&[volume(true)]).unwrap();
        let refused = lock(&[volume(false)]).unwrap_err();
        assert_eq!(refused.to_string(), "volume data is written by another VM");
    }
}
