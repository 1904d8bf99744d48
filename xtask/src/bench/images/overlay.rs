//! Steps on overlays: what each changes is kept apart.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{TAG, recipe};
use crate::{
    Result,
    paths::failed_at,
    run::{capture, command, run, step},
};

/// What makes the overlay keep changes the way docker's does: a changed file
/// or directory is kept whole, under its own name.
const OPTIONS: &str = "redirect_dir=off,metacopy=off,index=off";

/// Mounts memory there. (dpkg waits for the disk after every step, and making
/// files is slow on disks.)
pub(super) fn mount_memory(directory: &Path) -> Result<()> {
    fs::create_dir(directory).map_err(failed_at(directory))?;
    run(command("mount", directory)
        .args(["-t", "tmpfs", "-o", "size=80%,mode=0700", "tmpfs"])
        .arg(directory))
}

/// Unmounts what is mounted there and below.
pub(super) fn unmount(directory: &Path) -> Result<()> {
    run(command("umount", Path::new("/"))
        .arg("--recursive")
        .arg(directory))
}

/// Unpacks the image of a layout and answers its tree.
pub(super) fn unpack(layout: &Path, scratch: &Path) -> Result<PathBuf> {
    let bundle = scratch.join("base");
    let image = format!("{}:{TAG}", layout.display());
    capture(
        command("umoci", scratch)
            .args(["unpack", "--image", &image])
            .arg(&bundle),
    )?;
    Ok(bundle.join("rootfs"))
}

/// Performs the steps on top of one another and answers what each changed, as
/// the overlay keeps it.
pub(super) fn perform(steps: &[&str], base: &Path, scratch: &Path) -> Result<Vec<PathBuf>> {
    let mut lower = vec![base.to_owned()];
    for (index, script) in steps.iter().enumerate() {
        let directory = scratch.join(format!("step{index}"));
        let what = script.lines().next().unwrap_or_default();
        step(what.trim_start_matches("# "), || {
            on_overlay(script, &lower, &directory)
        })?;
        lower.insert(0, directory.join("upper"));
    }
    lower.pop();
    lower.reverse();
    Ok(lower)
}

fn on_overlay(script: &str, lower: &[PathBuf], directory: &Path) -> Result<()> {
    let [upper, work, root] = ["upper", "work", "root"].map(|name| directory.join(name));
    for made in [directory, &upper, &work, &root] {
        fs::create_dir(made).map_err(failed_at(made))?;
    }
    keep_root(&lower[0], &upper)?;
    let lower: Vec<String> = lower
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let options = format!(
        "{OPTIONS},lowerdir={},upperdir={},workdir={}",
        lower.join(":"),
        upper.display(),
        work.display()
    );
    run(command("mount", directory)
        .args(["-t", "overlay", "-o", &options, "overlay"])
        .arg(&root))?;
    perform_inside(script, &root)?;
    unmount(&root)
}

/// A new layer's root directory is as that below it.
fn keep_root(lower: &Path, upper: &Path) -> Result<()> {
    for program in ["chmod", "chown", "touch"] {
        run(command(program, upper)
            .arg("--reference")
            .arg(lower)
            .arg(upper))?;
    }
    Ok(())
}

/// Runs a script of the host with the tree in `$root`; programs that it starts
/// inside the tree find processes and devices there.
fn perform_inside(script: &str, root: &Path) -> Result<()> {
    let scratch = root.with_file_name("scratch");
    fs::create_dir(&scratch).map_err(failed_at(&scratch))?;
    let script = format!("{}\n{script}", recipe::PRELUDE);
    capture(
        command("sh", &scratch)
            .args(["-euc", &script])
            .env("root", root)
            .env("scratch", &scratch),
    )
    .map(drop)
}
