//! Layouts that hold systems of the host's own release: `debian/`, minimal and
//! with a second layer that adds, replaces and removes; `systemd/`, with an
//! init system; `many-files/`, with tens of thousands of files. The benchmarks
//! have one with an ssh server.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{layout, sources};
use crate::{
    Result,
    paths::{failed_at, workspace},
    run::{capture, command},
};

const OS_RELEASE: &str = "/etc/os-release";

/// An init system and the bus it speaks on.
const SYSTEMD: &str = "systemd-sysv,dbus";
/// Packages of many small files and deep directories.
const MANY_FILES: &str = "python3,git,golang-src,libboost-dev";

/// A server that ssh reaches.
const SSH: &str = "openssh-server";

pub(super) fn recipe() -> Result<String> {
    Ok(format!("2 {}", release()?))
}

pub(super) fn systemd_recipe() -> Result<String> {
    Ok(format!("1 {} {SYSTEMD}", release()?))
}

pub(super) fn many_files_recipe() -> Result<String> {
    Ok(format!("1 {} {MANY_FILES}", release()?))
}

pub(crate) fn ssh_recipe() -> Result<String> {
    Ok(format!("1 {} {SSH}", release()?))
}

pub(crate) fn make_ssh(directory: &Path) -> Result<()> {
    make_whole(directory, SSH, "/bin/bash")
}

pub(super) fn make_systemd(directory: &Path) -> Result<()> {
    make_whole(directory, SYSTEMD, "/sbin/init")
}

pub(super) fn make_many_files(directory: &Path) -> Result<()> {
    make_whole(directory, MANY_FILES, "/bin/bash")
}

/// A layout of one layer, tag `latest`, with these packages in it.
fn make_whole(directory: &Path, packages: &str, cmd: &str) -> Result<()> {
    let root = directory.join("root.tar");
    debootstrap(directory, &root, packages)?;
    layout::make(directory, "latest", &[&root], cmd)?;
    fs::remove_file(&root).map_err(failed_at(&root))
}

pub(super) fn make(directory: &Path) -> Result<()> {
    let root = directory.join("root.tar");
    debootstrap(directory, &root, "")?;
    let second = second_layer(directory)?;
    layout::make(directory, "bookworm", &[&root, &second], "/bin/bash")?;
    for made in [&root, &second] {
        fs::remove_file(made).map_err(failed_at(made))?;
    }
    Ok(())
}

/// Installs the release's essential packages and those named, and packs them.
pub(crate) fn debootstrap(directory: &Path, root: &Path, packages: &str) -> Result<()> {
    let scratch = directory.join("scratch");
    fs::create_dir(&scratch).map_err(failed_at(&scratch))?;
    let release = release()?;
    let mut mmdebstrap = in_memory(&scratch, "mmdebstrap");
    mmdebstrap
        .args(["--quiet", "--variant=essential"])
        .args((!packages.is_empty()).then(|| format!("--include={packages}")))
        .arg(&release)
        .arg(root)
        .args(sources::of(&release)?)
        .env("TMPDIR", &scratch);
    capture(&mut mmdebstrap)?;
    fs::remove_dir(&scratch).map_err(failed_at(&scratch))
}

/// A program with memory mounted at `scratch`, seen by it alone and gone with
/// it; on the disk where that is not allowed. (dpkg waits for the disk after
/// every step, which makes a minute of ten seconds.)
fn in_memory(scratch: &Path, program: &str) -> Command {
    const MOUNT: &str = "mount -t tmpfs tmpfs \"$0\" && exec \"$@\"";
    let mounted = |program| {
        let mut mounted = command("unshare", workspace());
        mounted.args(["--mount", "sh", "-c", MOUNT]).arg(scratch);
        mounted.arg(program);
        mounted
    };
    if capture(&mut mounted("true")).is_ok() {
        mounted(program)
    } else {
        command(program, workspace())
    }
}

/// The host's release, by its code name (os-release(5)).
pub(crate) fn release() -> Result<String> {
    let text = fs::read_to_string(OS_RELEASE).map_err(failed_at(Path::new(OS_RELEASE)))?;
    text.lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .map(|name| name.trim_matches('"').to_owned())
        .ok_or_else(|| format!("{OS_RELEASE} names no release"))
}

/// Removes the documentation (OCI image-spec, layer.md, "Whiteouts"), replaces
/// a file and adds one.
fn second_layer(directory: &Path) -> Result<PathBuf> {
    let tree = directory.join("second");
    let files = [
        ("usr/share", ".wh.doc", ""),
        ("etc", "issue", "banger test image\n"),
        ("etc", "second-layer", "added\n"),
    ];
    for (parent, name, text) in files {
        let parent = tree.join(parent);
        fs::create_dir_all(&parent).map_err(failed_at(&parent))?;
        fs::write(parent.join(name), text).map_err(failed_at(&parent))?;
    }
    layout::archive(directory, &tree, "second.tar")
}
