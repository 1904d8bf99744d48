//! Writing a module tree file by file.
//!
//! Purpose: what packages and directories of users hold becomes a directory
//! of plain files. Invariants: every path component is checked before a file
//! is made, no link is ever made, so nothing is written outside the tree; the
//! number of files and their bytes are bounded.
//! Entry points: [`ModuleTreeWriter`], [`TreePath`].

use std::{fs, io::Read};

use camino::{Utf8Path, Utf8PathBuf};

use super::{fault::Fault, transfer::write_new_file};
use crate::host_fs::IoContext as _;

/// Most files and directories of a tree; distributions' largest have 10 000.
const ENTRIES_LIMIT: u32 = 100_000;
/// Most bytes of a tree.
const BYTES_LIMIT: u64 = 4 << 30;
/// Deepest nesting; Linux's own is 9.
const DEPTH_LIMIT: usize = 32;

/// A path below a module tree, each component of which is a plain name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TreePath(Utf8PathBuf);

impl TreePath {
    /// Checks a path given by its components.
    pub(crate) fn of(components: &[&str]) -> Result<Self, Fault> {
        let plain = !components.is_empty()
            && components.len() <= DEPTH_LIMIT
            && components.iter().all(|name| is_plain(name));
        if plain {
            return Ok(Self(components.iter().collect()));
        }
        Err(Fault::Malformed(format!(
            "the path {:?} cannot be in a module tree",
            components.join("/")
        )))
    }

    /// Whether it is one of the links that a build leaves to its source.
    pub(crate) fn is_build_link(&self) -> bool {
        matches!(self.0.as_str(), "build" | "source")
    }
}

fn is_plain(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
        && name.len() <= 255
        && name.bytes().all(|byte| !matches!(byte, b'/' | 0))
}

/// Fills one directory.
#[derive(Debug)]
pub(crate) struct ModuleTreeWriter {
    root: Utf8PathBuf,
    entries: u32,
    bytes_left: u64,
}

impl ModuleTreeWriter {
    /// A writer for a tree at `root`, which is made with its first entry.
    pub(crate) fn new(root: Utf8PathBuf) -> Self {
        Self {
            root,
            entries: 0,
            bytes_left: BYTES_LIMIT,
        }
    }

    /// Makes a directory and its parents.
    pub(crate) fn directory(&mut self, path: &TreePath) -> Result<(), Fault> {
        self.count()?;
        make_directory(&self.root.join(&path.0))
    }

    /// Writes a file, and its parents.
    pub(crate) fn file(&mut self, path: &TreePath, content: impl Read) -> Result<(), Fault> {
        self.count()?;
        let target = self.root.join(&path.0);
        if let Some(parent) = target.parent() {
            make_directory(parent)?;
        }
        self.bytes_left -= write_new_file(content, &target, self.bytes_left)?;
        Ok(())
    }

    /// The tree, if it has anything in it.
    pub(crate) fn finish(self) -> Option<Utf8PathBuf> {
        (0 < self.entries).then_some(self.root)
    }

    fn count(&mut self) -> Result<(), Fault> {
        self.entries += 1;
        if ENTRIES_LIMIT < self.entries {
            return Err(Fault::Malformed(format!(
                "its module tree has more than {ENTRIES_LIMIT} entries"
            )));
        }
        Ok(())
    }
}

fn make_directory(path: &Utf8Path) -> Result<(), Fault> {
    fs::create_dir_all(path).at("create directory", path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_paths_are_taken() {
        assert!(TreePath::of(&["kernel", "a.ko"]).is_ok());
        let deep = ["d"; DEPTH_LIMIT + 1];
        let long = "a".repeat(256);
        let refused: [&[&str]; 7] = [
            &[],
            &[".."],
            &["a", "..", "b"],
            &["a", ""],
            &["a/b"],
            &deep,
            &[&long],
        ];
        for components in refused {
            assert!(
                TreePath::of(components).is_err(),
                "{components:?} was accepted"
            );
        }
    }

    #[test]
    fn a_file_given_twice_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(scratch.path()).unwrap().join("modules");
        let mut tree = ModuleTreeWriter::new(root.clone());
        let path = TreePath::of(&["kernel", "a.ko"]).unwrap();
        tree.file(&path, &b"a"[..]).unwrap();
        assert!(matches!(tree.file(&path, &b"b"[..]), Err(Fault::Io(_))));
        assert_eq!(tree.finish(), Some(root.clone()));
        assert_eq!(fs::read(root.join("kernel/a.ko")).unwrap(), b"a");
    }
}
