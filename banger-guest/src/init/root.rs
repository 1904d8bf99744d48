//! The root file system: mounting it and making it the root.
//!
//! With an overlay, the image's disk is mounted read-only and the writable disk
//! holds the directories `upper` and `work`. `redirect_dir` lets directories of
//! the image be renamed; `xino` gives all files one device number, as on one disk.

use std::{
    fs::{self, DirBuilder},
    io,
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
    mount::{MountFlags, UnmountFlags},
};

use super::{boot_config::RootDisks, stage::Cause};

const BASE: &str = "/banger/base";
const WRITABLE: &str = "/banger/writable";
const ROOT: &str = "/banger/root";
const UPPER: &str = "/banger/writable/upper";
/// An upper directory that is not whole yet.
const NEW_UPPER: &str = "/banger/writable/upper.new";
const WORK: &str = "/banger/writable/work";
const OVERLAY: &std::ffi::CStr = c"lowerdir=/banger/base,upperdir=/banger/writable/upper,\
workdir=/banger/writable/work,redirect_dir=on,xino=on";

/// The mounted root.
#[derive(Debug)]
pub(super) struct Root {
    /// Top directory of the file system that takes the writes: what the
    /// power-off must leave whole.
    pub(super) writable: OwnedFd,
    /// Where volumes are mounted, in the order of their mounting.
    pub(super) volumes: Vec<PathBuf>,
}

/// Mounts the root at its place in the initramfs.
pub(super) fn mount(disks: &RootDisks<PathBuf>) -> Result<Root, Cause> {
    make_directory(ROOT)?;
    let top = match disks {
        RootDisks::Plain(disk) => {
            mount_disk(disk, ROOT, MountFlags::empty())?;
            ROOT
        }
        RootDisks::Overlay { base, writable } => {
            make_directory(BASE)?;
            make_directory(WRITABLE)?;
            mount_disk(base, BASE, MountFlags::RDONLY)?;
            mount_disk(writable, WRITABLE, MountFlags::empty())?;
            join()?;
            WRITABLE
        }
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let writable = rustix::fs::open(top, flags, Mode::empty()).map_err(Cause::of("open", top))?;
    Ok(Root {
        writable,
        volumes: Vec::new(),
    })
}

fn mount_disk(disk: &Path, target: &str, flags: MountFlags) -> Result<(), Cause> {
    rustix::mount::mount(disk, target, "ext4", flags, None)
        .map_err(Cause::of("mount the ext4 disk", disk.display()))
}

fn join() -> Result<(), Cause> {
    make_upper().map_err(Cause::of("prepare", UPPER))?;
    make_directory(WORK)?;
    rustix::mount::mount("overlay", ROOT, "overlay", MountFlags::empty(), OVERLAY)
        .map_err(Cause::of("mount the overlay on", ROOT))
}

/// Made once, with the image's owner and mode of `/`; later boots keep what
/// the machine made of it.
fn make_upper() -> io::Result<()> {
    if Path::new(UPPER).is_dir() {
        return Ok(());
    }
    match fs::create_dir(NEW_UPPER) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let base = fs::metadata(BASE)?;
    std::os::unix::fs::chown(NEW_UPPER, Some(base.uid()), Some(base.gid()))?;
    fs::set_permissions(NEW_UPPER, fs::Permissions::from_mode(base.mode() & 0o7777))?;
    fs::rename(NEW_UPPER, UPPER)
}

fn make_directory(path: &str) -> Result<(), Cause> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path)
        .map_err(Cause::of("make the directory", path))
}

/// Makes the mounted root the root of this process and empties the initramfs,
/// whose files would hold memory for as long as the machine runs.
pub(super) fn switch() -> Result<(), Cause> {
    for early in ["/dev", "/sys", "/proc"] {
        rustix::mount::unmount(early, UnmountFlags::DETACH).map_err(Cause::of("unmount", early))?;
    }
    rustix::process::chdir(ROOT).map_err(Cause::of("enter", ROOT))?;
    if let Ok(initramfs) = fs::metadata("/") {
        empty(Path::new("/"), initramfs.dev());
    }
    rustix::mount::mount_move(".", "/").map_err(Cause::of("move to / from", ROOT))?;
    let enter = || -> Result<(), Errno> {
        rustix::process::chroot(".")?;
        rustix::process::chdir("/")
    };
    enter().map_err(Cause::of("enter", "the root file system"))
}

/// Removes what lies on the device itself. What stays costs memory, no more.
fn empty(directory: &Path, device: u64) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        match fs::symlink_metadata(&path) {
            Ok(found) if found.dev() != device => {}
            Ok(found) if found.is_dir() => {
                empty(&path, device);
                drop(fs::remove_dir(&path));
            }
            Ok(_) => drop(fs::remove_file(&path)),
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emptying_takes_files_links_and_directories() {
        let top = tempfile::tempdir().unwrap();
        fs::create_dir_all(top.path().join("lib/modules")).unwrap();
        fs::write(top.path().join("lib/modules/a.ko"), "module").unwrap();
        let kept = tempfile::NamedTempFile::new().unwrap();
        std::os::unix::fs::symlink(kept.path(), top.path().join("link")).unwrap();
        empty(top.path(), fs::metadata(top.path()).unwrap().dev());
        assert_eq!(fs::read_dir(top.path()).unwrap().count(), 0);
        assert!(kept.path().exists());
    }

    #[test]
    fn another_device_is_left_alone() {
        let top = tempfile::tempdir().unwrap();
        fs::write(top.path().join("file"), "").unwrap();
        let device = fs::metadata(top.path()).unwrap().dev();
        empty(top.path(), device + 1);
        assert!(top.path().join("file").exists());
    }
}
