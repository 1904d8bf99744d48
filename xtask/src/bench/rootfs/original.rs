//! How banger began: a tree flattened without privileges, made a disk by
//! `mkfs.ext4 -d`, whose owners and modes `debugfs` then sets.
//!
//! As user 65534 this program extracts the layers in order with GNU tar, which
//! inflates beside its writing; what a layer deletes or replaces by something
//! of another type is removed before. That list, and the owners, come from
//! reading the layer once more, which is done for the next layer while tar
//! works on this one, so that it costs no time of its own where there are two
//! cores. Devices are left out and extended attributes are lost, as they were
//! then. `mkfs.ext4 -d` makes the disk, and one run of `debugfs` sets user,
//! group and mode of every path. The one capability kept is to read and search
//! everywhere, since layouts may lie where only their owner may look.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use clap::Args;

use super::{
    flatten::{Layer, Owners},
    pipelines::Subject,
};
use crate::{
    Result,
    paths::{failed_at, workspace},
    run::{capture, command, run},
};

const USER: u32 = 65534;

/// What the program is told when it runs again as that user.
#[derive(Args, Debug)]
pub(crate) struct Flattening {
    /// Where it works
    #[arg(long)]
    directory: PathBuf,
    /// Inodes of the disk
    #[arg(long)]
    inodes: u64,
    /// Size of the disk
    #[arg(long)]
    kibibytes: u64,
    /// The layers, lowest first
    layers: Vec<PathBuf>,
}

/// The pipeline's command; the directory is the user's from now on.
pub(super) fn pipeline(subject: &Subject, directory: &Path) -> Result<Command> {
    std::os::unix::fs::chown(directory, Some(USER), Some(USER)).map_err(failed_at(directory))?;
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut pipeline = command_as(USER);
    pipeline
        .arg(this)
        .args(["bench", "flatten", "--directory"])
        .arg(directory)
        .args(["--inodes", &subject.inodes().to_string()])
        .args(["--kibibytes", &subject.kibibytes().to_string()])
        .args(&subject.layers);
    Ok(pipeline)
}

fn command_as(user: u32) -> Command {
    let mut setpriv = command("setpriv", workspace());
    setpriv.args([
        &format!("--reuid={user}"),
        &format!("--regid={user}"),
        "--clear-groups",
        "--inh-caps=-all,+dac_read_search",
        "--ambient-caps=-all,+dac_read_search",
    ]);
    setpriv
}

/// Does what the module says.
pub(crate) fn flatten(flattening: &Flattening) -> Result<()> {
    let directory = &flattening.directory;
    let tree = directory.join("tree");
    fs::create_dir(&tree).map_err(failed_at(&tree))?;
    let owners = extract_all(&flattening.layers, &tree)?;
    let disk = directory.join("disk.ext4");
    capture(
        command("mkfs.ext4", directory)
            .args(["-q", "-F", "-N", &flattening.inodes.to_string(), "-d"])
            .arg(&tree)
            .arg(&disk)
            .arg(format!("{}k", flattening.kibibytes)),
    )?;
    set_owners(&owners, &disk, directory)
}

fn extract_all(layers: &[PathBuf], tree: &Path) -> Result<Owners> {
    let mut owners = Owners::default();
    thread::scope(|scope| {
        let read = |path: &PathBuf| {
            let path = path.clone();
            scope.spawn(move || Layer::read(&path))
        };
        let mut next = layers.first().map(read);
        for (index, path) in layers.iter().enumerate() {
            let Some(reading) = next.take() else { break };
            let layer = reading.join().map_err(|_| "a reader panicked")??;
            next = layers.get(index + 1).map(read);
            let removed = owners.apply(&layer);
            remove(tree, &removed)?;
            extract(path, &layer, tree)?;
        }
        Ok(owners)
    })
}

fn remove(tree: &Path, paths: &[PathBuf]) -> Result<()> {
    for path in paths {
        let path = tree.join(path);
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue;
        };
        let removed = if metadata.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.map_err(failed_at(&path))?;
    }
    Ok(())
}

fn extract(path: &Path, layer: &Layer, tree: &Path) -> Result<()> {
    let devices = tree.with_file_name("devices");
    fs::write(&devices, layer.devices()).map_err(failed_at(&devices))?;
    run(command("tar", tree)
        .args(["--extract", "--gzip", "--no-same-owner", "--file"])
        .arg(path)
        .args(["--wildcards", "--no-anchored", "--exclude=.wh.*"])
        .args(["--no-wildcards", "--anchored", "--null", "--exclude-from"])
        .arg(&devices))
}

fn set_owners(owners: &Owners, disk: &Path, directory: &Path) -> Result<()> {
    let script = directory.join("owners");
    fs::write(&script, owners.script()).map_err(failed_at(&script))?;
    capture(
        command("debugfs", directory)
            .args(["-w", "-f"])
            .arg(&script)
            .arg(disk),
    )
    .map(drop)
}
