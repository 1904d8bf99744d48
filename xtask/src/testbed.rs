//! The kernel and the images that tests and the quickstart use.
//!
//! Each part is made once and again only when its recipe changes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use crate::{
    Result,
    paths::{publish, testbed, workspace},
    run::{capture, command, run, say},
};

const KERNEL_PACKAGE: &str = "linux-image-cloud-amd64";

/// Programs that an image with nothing but busybox has.
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

/// Makes whatever is missing and answers where it is.
pub(crate) fn make() -> Result<PathBuf> {
    let directory = testbed();
    fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    part("kernel", "1", "downloading a kernel package", kernel)?;
    debian()?;
    part(
        "busybox",
        &APPLETS.join(" "),
        "making a busybox image",
        busybox,
    )?;
    Ok(directory)
}

/// The layout with the Debian image.
pub(crate) fn debian() -> Result<PathBuf> {
    part("debian", "1", "making a Debian image", debian_layout)
}

/// Makes a part unless it is there by the same recipe.
fn part(name: &str, recipe: &str, what: &str, make: fn(&Path) -> Result<()>) -> Result<PathBuf> {
    let path = testbed().join(name);
    let stamp = hex::encode(Sha256::digest(recipe));
    let stamp_file = testbed().join(format!("{name}.recipe"));
    if path.exists() && fs::read_to_string(&stamp_file).is_ok_and(|made| made == stamp) {
        return Ok(path);
    }
    say(what);
    publish(&path, make)?;
    fs::write(&stamp_file, stamp).map_err(|error| format!("{}: {error}", stamp_file.display()))?;
    Ok(path)
}

/// `kernel/kernel.deb`: the package that the metapackage depends on.
fn kernel(directory: &Path) -> Result<()> {
    let depends = capture(command("apt-cache", directory).args(["depends", KERNEL_PACKAGE]))?;
    let versioned = depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with("linux-image-"))
        .ok_or_else(|| {
            format!(
                "package {KERNEL_PACKAGE} depends on no kernel: is the package list up to date?"
            )
        })?;
    capture(command("apt-get", directory).args(["download", "--quiet=2", versioned]))?;
    let mut entries = fs::read_dir(directory)
        .map_err(|error| error.to_string())?
        .flatten();
    let package = entries
        .next()
        .ok_or_else(|| format!("package {versioned} was not downloaded"))?;
    fs::rename(package.path(), directory.join("kernel.deb")).map_err(|error| error.to_string())
}

/// A layout with tag `bookworm`: a minimal Debian of the host's own release,
/// and a second layer that adds, replaces and removes.
fn debian_layout(directory: &Path) -> Result<()> {
    let root = directory.join("root.tar");
    let mut mmdebstrap = command("mmdebstrap", directory);
    mmdebstrap
        .args(["--quiet", "--variant=essential", &release()?])
        .arg(&root)
        .args(apt_sources());
    run(&mut mmdebstrap)?;
    let second = second_layer(directory)?;
    layout(directory, "bookworm", &[&root, &second], "/bin/bash")?;
    for scratch in [&root, &second] {
        fs::remove_file(scratch).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn release() -> Result<String> {
    let text = fs::read_to_string("/etc/os-release").map_err(|error| error.to_string())?;
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    name.map(|name| name.trim_matches('"').to_owned())
        .ok_or_else(|| "the host's release has no name".to_owned())
}

/// The host's own package sources, so that no host is named here.
fn apt_sources() -> Vec<PathBuf> {
    let listed = fs::read_dir("/etc/apt/sources.list.d")
        .into_iter()
        .flatten()
        .flatten();
    let suited = |path: &PathBuf| {
        matches!(
            path.extension().and_then(|end| end.to_str()),
            Some("list" | "sources")
        )
    };
    let mut sources: Vec<PathBuf> = listed.map(|entry| entry.path()).filter(suited).collect();
    sources.sort();
    let main = PathBuf::from("/etc/apt/sources.list");
    sources.extend(main.exists().then_some(main));
    sources
}

/// A layer that removes the documentation, replaces a file and adds one.
fn second_layer(directory: &Path) -> Result<PathBuf> {
    let tree = directory.join("second");
    let failed = |error: std::io::Error| error.to_string();
    fs::create_dir_all(tree.join("usr/share")).map_err(failed)?;
    fs::create_dir_all(tree.join("etc")).map_err(failed)?;
    fs::write(tree.join("usr/share/.wh.doc"), "").map_err(failed)?;
    fs::write(tree.join("etc/issue"), "banger test image\n").map_err(failed)?;
    fs::write(tree.join("etc/second-layer"), "added\n").map_err(failed)?;
    archive(directory, &tree, "second.tar")
}

/// `busybox/`: a layout with tag `latest` and nothing but busybox in it.
fn busybox(directory: &Path) -> Result<()> {
    let tree = directory.join("tree");
    let failed = |error: std::io::Error| error.to_string();
    fs::create_dir_all(tree.join("bin")).map_err(failed)?;
    fs::create_dir_all(tree.join("etc")).map_err(failed)?;
    run(command("cp", directory)
        .arg("/bin/busybox")
        .arg(tree.join("bin/busybox")))?;
    for applet in APPLETS {
        std::os::unix::fs::symlink("busybox", tree.join("bin").join(applet)).map_err(failed)?;
    }
    fs::write(
        tree.join("etc/passwd"),
        "root:x:0:0:root:/:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n",
    )
    .map_err(failed)?;
    fs::write(
        tree.join("etc/group"),
        "root:x:0:\nuser:x:1000:\nextra:x:2000:user\n",
    )
    .map_err(failed)?;
    let layer = archive(directory, &tree, "layer.tar")?;
    layout(directory, "latest", &[&layer], "/bin/sh")?;
    fs::remove_file(layer).map_err(failed)
}

/// Packs a tree as root's, removes it, and answers the archive.
fn archive(directory: &Path, tree: &Path, name: &str) -> Result<PathBuf> {
    let archive = directory.join(name);
    run(command("tar", directory)
        .args([
            "--create",
            "--owner=0",
            "--group=0",
            "--numeric-owner",
            "--sort=name",
            "--mtime=@0",
            "--file",
        ])
        .arg(&archive)
        .arg("--directory")
        .arg(tree)
        .arg("."))?;
    fs::remove_dir_all(tree).map_err(|error| error.to_string())?;
    Ok(archive)
}

/// Fills `directory` with a layout of one image.
fn layout(directory: &Path, tag: &str, layers: &[&PathBuf], cmd: &str) -> Result<()> {
    let image = format!("layout:{tag}");
    umoci(directory, &["init", "--layout", "layout"])?;
    umoci(directory, &["new", "--image", &image])?;
    for layer in layers {
        umoci(
            directory,
            &[
                "raw",
                "add-layer",
                "--image",
                &image,
                &layer.to_string_lossy(),
            ],
        )?;
    }
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    umoci(
        directory,
        &[
            "config",
            "--image",
            &image,
            "--config.cmd",
            cmd,
            "--config.env",
            path,
        ],
    )?;
    umoci(directory, &["gc", "--layout", "layout"])?;
    for entry in ["blobs", "index.json", "oci-layout"] {
        fs::rename(directory.join("layout").join(entry), directory.join(entry))
            .map_err(|error| error.to_string())?;
    }
    fs::remove_dir(directory.join("layout")).map_err(|error| error.to_string())
}

fn umoci(directory: &Path, arguments: &[&str]) -> Result<()> {
    capture(command("umoci", directory).args(arguments)).map(drop)
}

/// Whether the kernel of the test bed fits this machine.
pub(crate) fn check_architecture() -> Result<()> {
    let machine = capture(command("uname", workspace()).arg("-m"))?;
    if machine.trim() == "x86_64" {
        return Ok(());
    }
    Err(format!(
        "{KERNEL_PACKAGE} runs on x86_64, not on {}",
        machine.trim()
    ))
}
