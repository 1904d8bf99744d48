//! Where things are: the workspace, its target directory, what tasks make.

use std::{
    fs, io,
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

/// What benchmarks make and measure.
pub(crate) fn bench() -> PathBuf {
    target().join("bench")
}

/// A variable of the environment.
pub(crate) fn environment(name: &str) -> Option<String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "tasks are steered by cargo's variables"
    )]
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Says which path an operation failed at.
pub(crate) fn failed_at(path: &Path) -> impl Fn(io::Error) -> String {
    move |error| format!("{}: {error}", path.display())
}

/// Puts what `make` leaves in a fresh directory at `path`, whole or not at
/// all.
pub(crate) fn publish(path: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let staging = path.with_extension("staging");
    remove(&staging)?;
    fs::create_dir_all(&staging).map_err(failed_at(&staging))?;
    if let Err(error) = make(&staging) {
        remove(&staging)?;
        return Err(error);
    }
    remove(path)?;
    fs::rename(&staging, path).map_err(failed_at(path))
}

/// Removes a directory if it is there.
fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed_at(path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn a_failed_part_leaves_what_was_there_and_nothing_else() {
        let root = target().join("tmp/xtask-publish");
        remove(&root).unwrap();
        let part = root.join("part");
        let write = |text: &'static str| {
            move |directory: &Path| {
                fs::write(directory.join("a"), text).map_err(failed_at(directory))
            }
        };
        publish(&part, write("first")).unwrap();
        let failed = publish(&part, |directory| {
            write("half")(directory)?;
            Err("given up".to_owned())
        });
        assert_eq!(failed, Err("given up".to_owned()));
        assert_eq!(fs::read_to_string(part.join("a")).unwrap(), "first");
        assert_eq!(fs::read_dir(&root).unwrap().count(), 1);
        publish(&part, write("second")).unwrap();
        assert_eq!(fs::read_to_string(part.join("a")).unwrap(), "second");
    }
}
