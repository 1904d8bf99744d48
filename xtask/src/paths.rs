//! Where things are: the workspace, its target directory, what tasks make.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::Result;

/// The root of the workspace.
pub(crate) fn workspace() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}

/// cargo's target directory.
pub(crate) fn target() -> PathBuf {
    match environment("CARGO_TARGET_DIR") {
        Some(directory) => workspace().join(directory),
        None => workspace().join("target"),
    }
}

/// The static guest program, where `banger` looks for it.
pub(crate) fn guest_program() -> PathBuf {
    target().join("lib/banger/banger-guest")
}

/// What tests boot.
pub(crate) fn testbed() -> PathBuf {
    target().join("testbed")
}

/// A variable of the environment.
pub(crate) fn environment(name: &str) -> Option<String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "tasks are steered by cargo's variables"
    )]
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Puts what `make` leaves in a fresh directory at `path`, whole or not at
/// all.
pub(crate) fn publish(path: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let staging = path.with_extension("staging");
    remove(&staging)?;
    fs::create_dir_all(&staging).map_err(|error| format!("{}: {error}", staging.display()))?;
    make(&staging)?;
    remove(path)?;
    fs::rename(&staging, path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Removes a file or directory if it is there.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("{}: {error}", path.display()))
        }
        _ => Ok(()),
    }
}
