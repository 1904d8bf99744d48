//! Making OCI layouts with umoci.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    Result,
    paths::failed_at,
    run::{capture, command, run},
};

/// What images look for programs in.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Packs a tree as root's, removes it, and answers the archive.
pub(super) fn archive(directory: &Path, tree: &Path, name: &str) -> Result<PathBuf> {
    let archive = directory.join(name);
    let options = [
        "--create",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--sort=name",
        "--mtime=@0",
        "--file",
    ];
    run(command("tar", directory)
        .args(options)
        .arg(&archive)
        .arg("--directory")
        .arg(tree)
        .arg("."))?;
    fs::remove_dir_all(tree).map_err(failed_at(tree))?;
    Ok(archive)
}

/// Fills `directory` with a layout of one image.
pub(crate) fn make(directory: &Path, tag: &str, layers: &[&PathBuf], cmd: &str) -> Result<()> {
    let image = format!("layout:{tag}");
    umoci(directory, &["init", "--layout", "layout"])?;
    umoci(directory, &["new", "--image", &image])?;
    for layer in layers {
        add(directory, tag, layer)?;
    }
    let run = ["--config.cmd", cmd, "--config.env", PATH];
    umoci(
        directory,
        &[&["config", "--image", &image], &run[..]].concat(),
    )?;
    finish(directory)
}

/// Puts a copy of the layout `base` into `directory`, for layers to be added.
pub(crate) fn extend(directory: &Path, base: &Path) -> Result<()> {
    let layout = directory.join("layout");
    run(command("cp", directory)
        .arg("--recursive")
        .arg(base)
        .arg(layout))
}

/// Puts a layer on top of the layout in the making.
pub(crate) fn add(directory: &Path, tag: &str, layer: &Path) -> Result<()> {
    let (image, layer) = (format!("layout:{tag}"), layer.to_string_lossy());
    umoci(directory, &["raw", "add-layer", "--image", &image, &layer])
}

/// Removes what nothing names any more, and leaves the layout as `directory`.
pub(crate) fn finish(directory: &Path) -> Result<()> {
    umoci(directory, &["gc", "--layout", "layout"])?;
    let made = directory.join("layout");
    for entry in ["blobs", "index.json", "oci-layout"] {
        fs::rename(made.join(entry), directory.join(entry)).map_err(failed_at(&made))?;
    }
    fs::remove_dir(&made).map_err(failed_at(&made))
}

fn umoci(directory: &Path, arguments: &[&str]) -> Result<()> {
    capture(command("umoci", directory).args(arguments)).map(drop)
}
