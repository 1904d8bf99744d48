//! How banger began: a tree flattened without privileges, made a disk by
//! `mkfs.ext4 -d`, whose owners and modes `debugfs` then sets.
//!
//! As user 65534 this program extracts the layers in order with GNU tar, which
//! inflates beside its writing; what a layer deletes or replaces by something
//! of another type is removed before. That list, and the owners, come from
//! reading the layers once more, which is done ahead while tar works, so that
//! it costs next to no time of its own where there are two cores. Devices are left out and extended attributes are lost, as they were
//! then. `mkfs.ext4 -d` makes the disk, and one run of `debugfs` sets user,
//! group and mode of every path. The one capability kept is to read and search
//! everywhere, since layouts may lie where only their owner may look.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
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

/// Extracts the layers while another thread reads what they hold.
fn extract_all(layers: &[PathBuf], tree: &Path) -> Result<Owners> {
    let (sender, read) = mpsc::sync_channel(2);
    thread::scope(|scope| {
        scope.spawn(move || {
            let all = layers.iter().map(|path| Layer::read(path));
            // whoever receives no more has failed, and says so itself
            all.map_while(|layer| sender.send(layer).ok())
                .for_each(drop);
        });
        extract_in_order(layers, tree, &read)
    })
}

fn extract_in_order(
    layers: &[PathBuf],
    tree: &Path,
    read: &mpsc::Receiver<Result<Layer>>,
) -> Result<Owners> {
    let mut owners = Owners::default();
    let next = || read.recv().map_err(|_| "the reader of layers ended")?;
    for (index, path) in layers.iter().enumerate() {
        // below the first there is nothing to remove, so that tar need not wait
        if index == 0 {
            extract(path, tree)?;
            owners.apply(&next()?);
        } else {
            remove(tree, &owners.apply(&next()?))?;
            extract(path, tree)?;
        }
    }
    Ok(owners)
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

/// Extracts a layer but its markers. Devices fail, which is how they are left
/// out.
fn extract(path: &Path, tree: &Path) -> Result<()> {
    let extracted = capture(
        command("tar", tree)
            .env("LC_ALL", "C")
            .args(["--extract", "--gzip", "--no-same-owner", "--file"])
            .arg(path)
            .args(["--exclude=.wh.*", "--warning=no-timestamp"]),
    );
    match extracted {
        Err(error) if !is_of_devices(&error) => Err(error),
        _ => Ok(()),
    }
}

/// Whether all that tar could not make are devices.
fn is_of_devices(error: &str) -> bool {
    let mut lines = error.lines();
    lines.all(|line| line.contains("Cannot mknod: ") || line.contains("previous errors"))
}

fn set_owners(owners: &Owners, disk: &Path, directory: &Path) -> Result<()> {
    let script = directory.join("owners");
    fs::write(&script, owners.script()).map_err(failed_at(&script))?;
    // it repeats every command
    run(command("debugfs", directory)
        .args(["-w", "-f"])
        .arg(&script)
        .arg(disk)
        .stdout(Stdio::null()))
}

#[cfg(test)]
mod checks {
    use super::is_of_devices;

    #[test]
    fn only_devices_may_fail() {
        let devices = "tar ended with exit status: 2: tar: ./dev/full: Cannot mknod: Operation not \
                       permitted\ntar: Exiting with failure status due to previous errors";
        assert!(is_of_devices(devices));
        assert!(!is_of_devices(&devices.replace("mknod", "open")));
    }
}
