//! The kernel's file systems.
//!
//! Those of the initramfs are given up with it and mounted afresh in the root:
//! proc, sysfs and devtmpfs show the same content wherever they are mounted,
//! and a path in the image (a link `/run`, say) then means what it says.

use std::{
    ffi::CStr,
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, symlink},
    path::Path,
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
    mount::MountFlags,
};

use super::stage::Cause;
use crate::console;

/// A file system of the kernel.
struct Mount {
    kind: &'static str,
    target: &'static str,
    flags: MountFlags,
    options: Option<&'static CStr>,
    /// Mode of the mount point where the image has none.
    mode: u32,
}

const NO_EXECUTION: MountFlags = MountFlags::NOSUID
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC);

const PROC: Mount = Mount {
    kind: "proc",
    target: "/proc",
    flags: NO_EXECUTION,
    options: None,
    mode: 0o555,
};
const SYS: Mount = Mount {
    kind: "sysfs",
    target: "/sys",
    flags: NO_EXECUTION,
    options: None,
    mode: 0o555,
};
const DEV: Mount = Mount {
    kind: "devtmpfs",
    target: "/dev",
    flags: MountFlags::NOSUID,
    options: Some(c"mode=0755"),
    mode: 0o755,
};

/// No machine works without them.
const NEEDED: [Mount; 3] = [PROC, SYS, DEV];

/// What programs expect. One that cannot be mounted is said on the console.
const EXPECTED: [Mount; 4] = [
    Mount {
        kind: "devpts",
        target: "/dev/pts",
        flags: MountFlags::NOSUID.union(MountFlags::NOEXEC),
        options: Some(c"gid=5,mode=0620,ptmxmode=0666"),
        mode: 0o755,
    },
    Mount {
        kind: "tmpfs",
        target: "/dev/shm",
        flags: MountFlags::NOSUID.union(MountFlags::NODEV),
        options: Some(c"mode=1777"),
        mode: 0o1777,
    },
    Mount {
        kind: "tmpfs",
        target: "/run",
        flags: MountFlags::NOSUID.union(MountFlags::NODEV),
        options: Some(c"mode=0755"),
        mode: 0o755,
    },
    Mount {
        kind: "cgroup2",
        target: "/sys/fs/cgroup",
        flags: NO_EXECUTION,
        options: None,
        mode: 0o755,
    },
];

/// The links that shells and scripts use for their own streams.
const LINKS: [(&str, &str); 4] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
];

/// Mounts what the boot itself needs, in the initramfs.
pub(super) fn early() -> Result<(), Cause> {
    rustix::process::umask(Mode::WGRP | Mode::WOTH);
    NEEDED.iter().try_for_each(Mount::mount)?;
    adopt_console().map_err(Cause::of("open", "/dev/console"))
}

/// Mounts what programs need, in the root.
pub(super) fn system() -> Result<(), Cause> {
    NEEDED.iter().try_for_each(Mount::mount)?;
    for mount in &EXPECTED {
        if let Err(cause) = mount.mount() {
            console::line(cause);
        }
    }
    for (target, link) in LINKS {
        // devtmpfs is the machine's own: a link that is there is as good
        drop(symlink(target, link));
    }
    if let Err(error) = make_directory(Path::new("/tmp"), 0o1777) {
        console::line(Cause::of("make", "/tmp")(error));
    }
    Ok(())
}

impl Mount {
    fn mount(&self) -> Result<(), Cause> {
        let target = Path::new(self.target);
        make_directory(target, self.mode).map_err(Cause::of("make", self.target))?;
        match rustix::mount::mount(self.kind, target, self.kind, self.flags, self.options) {
            // the kernel may have mounted devtmpfs itself
            Ok(()) | Err(Errno::BUSY) => Ok(()),
            Err(errno) => Err(Cause::of("mount", self.target)(errno)),
        }
    }
}

/// Makes a directory with exactly this mode, unless something is there.
fn make_directory(path: &Path, mode: u32) -> io::Result<()> {
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => fs::set_permissions(path, Permissions::from_mode(mode)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// The kernel opens the console for its first process only if the initramfs
/// has the device.
fn adopt_console() -> Result<(), Errno> {
    if rustix::io::fcntl_getfd(rustix::stdio::stderr()).is_ok() {
        return Ok(());
    }
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let console = rustix::fs::open("/dev/console", flags, Mode::empty())?;
    rustix::stdio::dup2_stdin(&console)?;
    rustix::stdio::dup2_stdout(&console)?;
    rustix::stdio::dup2_stderr(&console)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_gets_its_mode_and_an_old_one_keeps_its_own() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("tmp");
        make_directory(&path, 0o1777).unwrap();
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(), 0o1777);
        make_directory(&path, 0o755).unwrap();
        assert_eq!(mode(), 0o1777);
    }

    #[test]
    fn a_dangling_link_is_left_for_the_mount_to_refuse() {
        let top = tempfile::tempdir().unwrap();
        let link = top.path().join("run");
        symlink("/nonexistent/run", &link).unwrap();
        make_directory(&link, 0o755).unwrap();
        assert!(!link.exists());
    }
}
