//! The kernel, the images and the VMM that tests and the quickstart use.
//!
//! Invariants: a part is made once, and again only when its recipe changes; it
//! appears whole, whatever interrupts its making, and runs of this task wait
//! for one another. Entry points: [`make`], [`debian()`]; [`provide`] for parts
//! of others.

mod buf;
mod busybox;
pub(crate) mod debian;
mod firecracker;
mod kernel;
pub(crate) mod layout;
mod python;
mod sources;
mod wheel;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use crate::{
    Result,
    paths::{failed_at, publish, testbed, workspace},
    run::{capture, command, step},
};

/// The metapackage of the kernel that machines boot.
pub(crate) const KERNEL_PACKAGE: &str = "linux-image-cloud-amd64";

/// One thing the test bed consists of.
pub(crate) struct Part<'a> {
    /// Its directory.
    pub(crate) name: &'a str,
    /// What is said while it is made.
    pub(crate) what: &'a str,
    /// Changes whenever it must be made anew.
    pub(crate) recipe: String,
    pub(crate) make: &'a dyn Fn(&Path) -> Result<()>,
}

/// Makes whatever is missing and answers where it is.
pub(crate) fn make() -> Result<PathBuf> {
    check_architecture()?;
    let directory = testbed();
    provide(
        &directory,
        &Part {
            name: "kernel",
            what: "downloading a kernel package",
            recipe: "1".to_owned(),
            make: &kernel::make,
        },
    )?;
    debian()?;
    for part in more_parts()? {
        provide(&directory, &part)?;
    }
    Ok(directory)
}

/// What only tests need.
fn more_parts() -> Result<[Part<'static>; 6]> {
    Ok([
        Part {
            name: "firecracker",
            what: "downloading Firecracker",
            recipe: firecracker::recipe(),
            make: &firecracker::make,
        },
        Part {
            name: "systemd",
            what: "making a Debian image with systemd",
            recipe: debian::systemd_recipe()?,
            make: &debian::make_systemd,
        },
        Part {
            name: "many-files",
            what: "making a Debian image with many files",
            recipe: debian::many_files_recipe()?,
            make: &debian::make_many_files,
        },
        Part {
            name: "busybox",
            what: "making a busybox image",
            recipe: busybox::recipe(),
            make: &busybox::make,
        },
        Part {
            name: "buf",
            what: "downloading buf",
            recipe: buf::recipe(),
            make: &buf::make,
        },
        Part {
            name: "python",
            what: "downloading Python's gRPC",
            recipe: python::recipe()?,
            make: &python::make,
        },
    ])
}

/// The layout with the Debian image.
pub(crate) fn debian() -> Result<PathBuf> {
    provide(
        &testbed(),
        &Part {
            name: "debian",
            what: "making a Debian image",
            recipe: debian::recipe()?,
            make: &debian::make,
        },
    )
}

/// Makes a part below `directory` unless it is there by the same recipe.
pub(crate) fn provide(directory: &Path, part: &Part<'_>) -> Result<PathBuf> {
    fs::create_dir_all(directory).map_err(failed_at(directory))?;
    let path = directory.join(part.name);
    let _lock = lock(&path.with_extension("lock"))?;
    let recipe = hex::encode(Sha256::digest(&part.recipe));
    let recipe_file = path.with_extension("recipe");
    if path.exists() && fs::read_to_string(&recipe_file).is_ok_and(|made| made == recipe) {
        return Ok(path);
    }
    step(part.what, || publish(&path, part.make))?;
    fs::write(&recipe_file, recipe).map_err(failed_at(&recipe_file))?;
    Ok(path)
}

/// Waits for a lock, which the kernel takes back when this process ends.
fn lock(path: &Path) -> Result<File> {
    let file = File::create(path).map_err(failed_at(path))?;
    file.lock().map_err(failed_at(path))?;
    Ok(file)
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
