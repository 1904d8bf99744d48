//! `busybox/`: a layout with tag `latest` and nothing but busybox in it.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use super::layout;
use crate::{
    Result,
    paths::failed_at,
    run::{command, run},
};

/// The names under which busybox is found in the image.
const APPLETS: [&str; 30] = [
    "cat",
    "chmod",
    "cp",
    "cut",
    "dd",
    "df",
    "echo",
    "env",
    "false",
    "grep",
    "head",
    "hostname",
    "id",
    "kill",
    "ls",
    "mkdir",
    "mount",
    "ps",
    "pwd",
    "rm",
    "sed",
    "seq",
    "sh",
    "sha256sum",
    "sleep",
    "stat",
    "sync",
    "tr",
    "true",
    "uname",
];

/// Users of the image: root, and one with a further group.
const PASSWD: &str = "root:x:0:0:root:/:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n";
const GROUP: &str = "root:x:0:\nuser:x:1000:\nextra:x:2000:user\n";

pub(super) fn recipe() -> String {
    format!("1 {APPLETS:?} {PASSWD} {GROUP}")
}

pub(super) fn make(directory: &Path) -> Result<()> {
    let tree = tree(directory)?;
    let layer = layout::archive(directory, &tree, "layer.tar")?;
    layout::make(directory, "latest", &[&layer], "/bin/sh")?;
    fs::remove_file(&layer).map_err(failed_at(&layer))
}

fn tree(directory: &Path) -> Result<PathBuf> {
    let tree = directory.join("tree");
    let (programs, accounts) = (tree.join("bin"), tree.join("etc"));
    for made in [&programs, &accounts] {
        fs::create_dir_all(made).map_err(failed_at(made))?;
    }
    let busybox = programs.join("busybox");
    run(command("cp", directory).arg("/bin/busybox").arg(&busybox))?;
    for applet in APPLETS {
        symlink("busybox", programs.join(applet)).map_err(failed_at(&programs))?;
    }
    for (name, text) in [("passwd", PASSWD), ("group", GROUP)] {
        fs::write(accounts.join(name), text).map_err(failed_at(&accounts))?;
    }
    Ok(tree)
}
