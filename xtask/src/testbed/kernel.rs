//! `kernel/kernel.deb`: a kernel package as the host's apt has it.

use std::{fs, path::Path};

use super::KERNEL_PACKAGE;
use crate::{
    Result,
    packages::with_package_lists,
    paths::{failed_at, workspace},
    run::{capture, command},
};

pub(super) fn make(directory: &Path) -> Result<()> {
    with_package_lists(|| download(directory))?;
    let mut entries = fs::read_dir(directory)
        .map_err(failed_at(directory))?
        .flatten();
    let package = entries.next().ok_or("apt-get downloaded nothing")?.path();
    fs::rename(&package, directory.join("kernel.deb")).map_err(failed_at(&package))
}

fn download(directory: &Path) -> Result<()> {
    let depends = capture(command("apt-cache", workspace()).args(["depends", KERNEL_PACKAGE]))?;
    let package = versioned(&depends)
        .ok_or_else(|| format!("package {KERNEL_PACKAGE} depends on no kernel"))?;
    let options = ["download", "--quiet=2", package];
    capture(command("apt-get", directory).args(options)).map(drop)
}

/// The package with the kernel, in the answer of `apt-cache depends`.
fn versioned(depends: &str) -> Option<&str> {
    depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with("linux-image-"))
}

#[cfg(test)]
mod checks {
    use super::versioned;

    #[test]
    fn the_kernel_is_found_among_the_dependencies() {
        let depends = "linux-image-cloud-amd64\n  Depends: base\n  Depends: linux-image-6.1.0-9\n";
        assert_eq!(versioned(depends), Some("linux-image-6.1.0-9"));
        assert_eq!(versioned("linux-image-cloud-amd64\n"), None);
    }
}
