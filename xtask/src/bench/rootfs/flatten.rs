//! What a layer deletes, and who owns what in the end: the pure part of the
//! original pipeline.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::File,
    ops::Bound,
    os::unix::ffi::OsStrExt as _,
    path::{Component, Path, PathBuf},
};

use flate2::read::MultiGzDecoder;
use tar::EntryType;

use crate::{Result, paths::failed_at};

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// An entry's type, as far as replacing goes, and what `debugfs` is to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owner {
    is_directory: bool,
    user: u64,
    group: u64,
    mode: u32,
}

/// What is of interest in a layer.
#[derive(Debug, Default)]
pub(super) struct Layer {
    deleted: Vec<PathBuf>,
    /// Directories that hide all below them.
    emptied: Vec<PathBuf>,
    owners: Vec<(PathBuf, Owner)>,
    /// Names of files that have another name, under which they are owned.
    links: Vec<PathBuf>,
}

impl Layer {
    /// Reads a layer's headers.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let failed = failed_at(path);
        let file = File::open(path).map_err(&failed)?;
        let mut archive = tar::Archive::new(MultiGzDecoder::new(file));
        let mut layer = Self::default();
        for entry in archive.entries().map_err(&failed)? {
            let entry = entry.map_err(&failed)?;
            let header = entry.header();
            let owner = Owner {
                is_directory: header.entry_type().is_dir(),
                user: header.uid().map_err(&failed)?,
                group: header.gid().map_err(&failed)?,
                mode: header.mode().map_err(&failed)? & 0o7777 | file_type(header.entry_type()),
            };
            layer.add(&entry.path_bytes(), header.entry_type(), owner);
        }
        Ok(layer)
    }

    fn add(&mut self, name: &[u8], kind: EntryType, owner: Owner) {
        let path = normal(Path::new(OsStr::from_bytes(name)));
        let last = path.file_name().unwrap_or_default().as_bytes();
        if last == OPAQUE {
            self.emptied.push(parent(&path));
        } else if let Some(deleted) = last.strip_prefix(WHITEOUT) {
            let deleted = parent(&path).join(OsStr::from_bytes(deleted));
            self.deleted.push(deleted);
        } else if kind == EntryType::Link {
            self.links.push(path);
        } else if !matches!(kind, EntryType::Block | EntryType::Char) {
            self.owners.push((path, owner));
        }
    }
}

/// The type's bits in an inode's mode.
const fn file_type(kind: EntryType) -> u32 {
    match kind {
        EntryType::Directory => 0o040_000,
        EntryType::Symlink => 0o120_000,
        EntryType::Fifo => 0o010_000,
        _ => 0o100_000,
    }
}

/// A path from the root. That of a sparse file has a directory too many (GNU
/// tar's manual, "PAX Format, Version 1.0").
fn normal(path: &Path) -> PathBuf {
    let is_normal = |part: &Component<'_>| match part {
        Component::Normal(name) => !name.as_bytes().starts_with(b"GNUSparseFile."),
        _ => false,
    };
    path.components().filter(is_normal).collect()
}

fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).to_owned()
}

/// What shows after some layers.
#[derive(Debug, Default)]
pub(super) struct Owners {
    paths: BTreeMap<PathBuf, Owner>,
}

impl Owners {
    /// Puts a layer on top and answers what must be removed before it is
    /// extracted.
    pub(super) fn apply(&mut self, layer: &Layer) -> Vec<PathBuf> {
        let mut removed = layer.deleted.clone();
        removed.extend(layer.emptied.iter().flat_map(|path| self.children(path)));
        let replaced = layer
            .owners
            .iter()
            .filter(|(path, owner)| self.has_other_type(path, *owner));
        removed.extend(replaced.map(|(path, _)| path.clone()));
        for path in &removed {
            self.forget(path);
        }
        self.paths.extend(layer.owners.iter().cloned());
        for link in &layer.links {
            self.paths.remove(link);
        }
        removed
    }

    fn has_other_type(&self, path: &Path, owner: Owner) -> bool {
        let known = self.paths.get(path);
        known.is_some_and(|known| known.is_directory != owner.is_directory)
    }

    /// What is below a path, in the order of names.
    fn below(&self, path: &Path) -> impl Iterator<Item = &PathBuf> {
        let from = self
            .paths
            .range::<Path, _>((Bound::Included(path), Bound::Unbounded))
            .map(|(found, _)| found);
        from.take_while(move |found| found.starts_with(path))
            .skip_while(move |found| *found == path)
    }

    fn children(&self, path: &Path) -> Vec<PathBuf> {
        let depth = path.components().count() + 1;
        let below = self.below(path);
        below
            .filter(|found| found.components().count() == depth)
            .cloned()
            .collect()
    }

    fn forget(&mut self, path: &Path) {
        let below: Vec<PathBuf> = self.below(path).cloned().collect();
        for found in below {
            self.paths.remove(&found);
        }
        self.paths.remove(path);
    }

    /// Commands for `debugfs`. (It has no way to name what has a line's end in
    /// its name.)
    pub(super) fn script(&self) -> Vec<u8> {
        let mut script = Vec::new();
        let lines = |path: &&PathBuf| !path.as_os_str().as_bytes().contains(&b'\n');
        for path in self.paths.keys().filter(lines) {
            let owner = self.paths[path];
            let name = quoted(path);
            let fields = [
                ("mode", format!("0{:o}", owner.mode)),
                ("uid", owner.user.to_string()),
                ("gid", owner.group.to_string()),
            ];
            for (field, value) in fields {
                script.extend_from_slice(b"sif ");
                script.extend_from_slice(&name);
                script.extend_from_slice(format!(" {field} {value}\n").as_bytes());
            }
        }
        script
    }
}

/// A path from the root, in quotes; quotes inside are doubled.
fn quoted(path: &Path) -> Vec<u8> {
    let mut quoted = b"\"/".to_vec();
    for byte in path.as_os_str().as_bytes() {
        if *byte == b'"' {
            quoted.push(b'"');
        }
        quoted.push(*byte);
    }
    quoted.push(b'"');
    quoted
}

#[cfg(test)]
mod checks {
    use super::*;

    const FILE: Owner = Owner {
        is_directory: false,
        user: 1,
        group: 2,
        mode: 0o100_644,
    };
    const DIRECTORY: Owner = Owner {
        is_directory: true,
        mode: 0o040_755,
        ..FILE
    };

    fn layer(entries: &[(&str, EntryType, Owner)]) -> Layer {
        let mut layer = Layer::default();
        for (name, kind, owner) in entries {
            layer.add(name.as_bytes(), *kind, *owner);
        }
        layer
    }

    fn shown(owners: &Owners) -> Vec<&str> {
        let names = owners.paths.keys().map(|path| path.to_str().unwrap());
        names.collect()
    }

    fn base() -> Owners {
        let mut owners = Owners::default();
        let removed = owners.apply(&layer(&[
            ("./", EntryType::Directory, DIRECTORY),
            ("./a/", EntryType::Directory, DIRECTORY),
            ("./a/b", EntryType::Regular, FILE),
            ("./a/c/", EntryType::Directory, DIRECTORY),
            ("./a/c/d", EntryType::Regular, FILE),
            ("./a-b", EntryType::Regular, FILE),
        ]));
        assert_eq!(removed, [""; 0].map(PathBuf::from));
        owners
    }

    #[test]
    fn a_whiteout_removes_what_is_below_it() {
        let mut owners = base();
        let removed = owners.apply(&layer(&[("./.wh.a", EntryType::Regular, FILE)]));
        assert_eq!(removed, [Path::new("a")]);
        assert_eq!(shown(&owners), ["", "a-b"]);
    }

    #[test]
    fn an_opaque_directory_keeps_itself_and_what_its_layer_has() {
        let mut owners = base();
        let removed = owners.apply(&layer(&[
            ("./a/new", EntryType::Regular, FILE),
            ("./a/.wh..wh..opq", EntryType::Regular, FILE),
        ]));
        assert_eq!(removed, [Path::new("a/b"), Path::new("a/c")]);
        assert_eq!(shown(&owners), ["", "a", "a/new", "a-b"]);
    }

    #[test]
    fn what_changes_its_type_is_removed_first() {
        let mut owners = base();
        let removed = owners.apply(&layer(&[
            ("./a/c", EntryType::Regular, FILE),
            ("./a-b/", EntryType::Directory, DIRECTORY),
        ]));
        assert_eq!(removed, [Path::new("a/c"), Path::new("a-b")]);
        assert_eq!(shown(&owners), ["", "a", "a/b", "a/c", "a-b"]);
    }

    #[test]
    fn a_hard_link_is_owned_by_its_other_name() {
        let mut owners = base();
        owners.apply(&layer(&[("./a-b", EntryType::Link, FILE)]));
        assert_eq!(shown(&owners), ["", "a", "a/b", "a/c", "a/c/d"]);
    }

    #[test]
    fn a_sparse_file_has_its_own_name() {
        let name = "./a/GNUSparseFile.7/b";
        assert_eq!(normal(Path::new(name)), Path::new("a/b"));
    }

    #[test]
    fn devices_are_owned_by_nobody() {
        let layer = layer(&[("./dev/null", EntryType::Char, FILE)]);
        assert!(layer.owners.is_empty());
    }

    #[test]
    fn the_script_sets_mode_and_owner_of_every_path() {
        let mut owners = Owners::default();
        owners.apply(&layer(&[("./a \"b", EntryType::Regular, FILE)]));
        let script = String::from_utf8(owners.script()).unwrap();
        let name = "\"/a \"\"b\"";
        assert_eq!(
            script,
            format!("sif {name} mode 0100644\nsif {name} uid 1\nsif {name} gid 2\n")
        );
    }
}
