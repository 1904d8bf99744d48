//! Volumes: disks beside those of the root, each at its path.
//!
//! This process has the root as its own root directory, so no link of the image
//! leads a path out of it. A disk without a file system is not mounted: its
//! path becomes a link to the device.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::{
        fd::AsRawFd as _,
        unix::fs::{OpenOptionsExt as _, symlink},
    },
    path::{Path, PathBuf},
};

use rustix::mount::{MountFlags, UnmountFlags};

use super::{boot_config::Volume, disks, root::Root, stage::Cause};
use crate::console;

/// Puts every volume at its path.
pub(super) fn mount(volumes: &[Volume], root: &mut Root) -> Result<(), Cause> {
    for volume in volumes {
        let device = disks::find_one(&volume.serial)?;
        if volume.raw {
            link(&device, &volume.path).map_err(Cause::of("link", volume.path.display()))?;
        } else {
            mount_one(&device, volume)?;
            root.volumes.push(volume.path.clone());
        }
    }
    Ok(())
}

fn mount_one(device: &Path, volume: &Volume) -> Result<(), Cause> {
    let place = &volume.path;
    fs::create_dir_all(place).map_err(Cause::of("make the directory", place.display()))?;
    // what is mounted on is what was looked at
    let directory = open_directory(place).map_err(Cause::of("open", place.display()))?;
    let target = format!("/proc/self/fd/{}", directory.as_raw_fd());
    let flags = if volume.read_only {
        MountFlags::RDONLY
    } else {
        MountFlags::empty()
    };
    rustix::mount::mount(device, target, "ext4", flags, None)
        .map_err(Cause::of("mount the volume at", place.display()))
}

fn open_directory(path: &Path) -> io::Result<File> {
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// A link that an earlier boot left is replaced: devices are numbered anew.
fn link(device: &Path, path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => fs::remove_file(path)?,
        _ => {}
    }
    symlink(device, path)
}

/// Unmounts what was mounted, the last first; what is busy is made read-only.
pub(super) fn unmount(volumes: &[PathBuf]) {
    for path in volumes.iter().rev() {
        if rustix::mount::unmount(path, UnmountFlags::empty()).is_ok() {
            continue;
        }
        if let Err(errno) = rustix::mount::mount_remount(path, MountFlags::RDONLY, "") {
            console::line(Cause::of("unmount", path.display())(errno));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_of_an_earlier_boot_is_replaced_and_nothing_else() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("dev/data");
        link(Path::new("/dev/vdc"), &path).unwrap();
        link(Path::new("/dev/vdd"), &path).unwrap();
        assert_eq!(fs::read_link(&path).unwrap(), Path::new("/dev/vdd"));
        let file = top.path().join("file");
        fs::write(&file, "kept").unwrap();
        let refused = link(Path::new("/dev/vdc"), &file).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
    }
}
