//! A module tree on disk: which modules it has and which are built in.
//!
//! Purpose: names to files, and what the tree's own indexes say. Invariants:
//! links are not followed; every file read is bounded; indexes are hints from
//! a package and are parsed leniently, line by line.
//! Entry points: [`ModuleTree`].

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Read},
};

use camino::{Utf8Path, Utf8PathBuf};

use super::{InitrdError, modinfo::normalised};
use crate::{
    host_fs::{IoContext as _, PathError},
    kernel::inflate::{Compression, Limited, inflate},
};

/// Most files and directories looked at.
const ENTRIES_LIMIT: usize = 100_000;
/// Most bytes of a module, uncompressed; the largest have 20 MiB.
const MODULE_LIMIT: u64 = 128 << 20;
/// Most bytes of an index.
const INDEX_LIMIT: u64 = 64 << 20;

/// A tree laid out as `/lib/modules/<release>`.
#[derive(Debug)]
pub(super) struct ModuleTree {
    root: Utf8PathBuf,
    files: BTreeMap<String, Utf8PathBuf>,
    built_in: BTreeSet<String>,
    dependencies: BTreeMap<String, Vec<String>>,
}

impl ModuleTree {
    /// Walks a tree and reads its indexes (modules.builtin, and modules.dep
    /// if depmod made one).
    pub(super) fn read(root: &Utf8Path) -> Result<Self, InitrdError> {
        let built_in = read_index(&root.join("modules.builtin"))?;
        let dependencies = read_index(&root.join("modules.dep"))?;
        Ok(Self {
            root: root.to_owned(),
            files: walk(root)?,
            built_in: built_in.lines().filter_map(module_name).collect(),
            dependencies: dependencies.lines().filter_map(dependency_line).collect(),
        })
    }

    pub(super) fn root(&self) -> &Utf8Path {
        &self.root
    }

    pub(super) fn is_built_in(&self, name: &str) -> bool {
        self.built_in.contains(name)
    }

    /// The file of a module.
    pub(super) fn file(&self, name: &str) -> Option<&Utf8Path> {
        self.files.get(name).map(Utf8PathBuf::as_path)
    }

    /// What modules.dep says a module depends on.
    pub(super) fn dependencies(&self, name: &str) -> Option<&[String]> {
        self.dependencies.get(name).map(Vec::as_slice)
    }
}

/// Reads a module's file, uncompressed.
pub(super) fn read_module(path: &Utf8Path) -> Result<Vec<u8>, InitrdError> {
    let file = File::open(path)
        .at("open", path)
        .map_err(InitrdError::Modules)?;
    let compression = path.extension().and_then(Compression::of_extension);
    let inflated = inflate(compression.unwrap_or(Compression::None), file);
    let mut module = Vec::new();
    Limited::new(inflated, MODULE_LIMIT)
        .read_to_end(&mut module)
        .map_err(|error| InitrdError::Damaged {
            path: path.to_owned(),
            problem: error.to_string(),
        })?;
    Ok(module)
}

/// Every module file below `root` by normalised name. Of several of one name
/// the one in `updates/` wins, as for depmod, else the first by path.
fn walk(root: &Utf8Path) -> Result<BTreeMap<String, Utf8PathBuf>, InitrdError> {
    let updates = root.join("updates");
    let mut paths = Vec::new();
    let mut pending = vec![root.to_owned()];
    let mut seen = 0;
    while let Some(directory) = pending.pop() {
        for (path, kind) in entries(&directory).map_err(InitrdError::Modules)? {
            seen += 1;
            if ENTRIES_LIMIT < seen {
                return Err(InitrdError::Damaged {
                    path: root.to_owned(),
                    problem: format!("it has more than {ENTRIES_LIMIT} entries"),
                });
            }
            if kind.is_dir() {
                pending.push(path);
            } else if kind.is_file() {
                paths.push((!path.starts_with(&updates), path));
            }
        }
    }
    paths.sort();
    let mut files = BTreeMap::new();
    for (_, path) in paths {
        if let Some(name) = module_name(path.as_str()) {
            files.entry(name).or_insert(path);
        }
    }
    Ok(files)
}

fn entries(directory: &Utf8Path) -> Result<Vec<(Utf8PathBuf, std::fs::FileType)>, PathError> {
    let entries = directory.read_dir_utf8().at("read directory", directory)?;
    entries
        .map(|entry| {
            let entry = entry.at("read directory", directory)?;
            let kind = entry.file_type().at("inspect", entry.path())?;
            Ok((entry.into_path(), kind))
        })
        .collect()
}

/// The module that a file name such as `kernel/a/b-c.ko.xz` stands for.
fn module_name(path: &str) -> Option<String> {
    let name = path.trim().rsplit('/').next()?;
    let (name, extension) = name.split_once(".ko")?;
    let known = match extension.strip_prefix('.') {
        None => extension.is_empty(),
        Some(compression) => Compression::of_extension(compression).is_some(),
    };
    (known && !name.is_empty()).then(|| normalised(name))
}

/// A line of modules.dep: `kernel/a.ko: kernel/b.ko kernel/c.ko`.
fn dependency_line(line: &str) -> Option<(String, Vec<String>)> {
    let (module, needed) = line.split_once(':')?;
    let needed = needed.split_whitespace().filter_map(module_name).collect();
    Some((module_name(module)?, needed))
}

/// An index of the tree; empty when there is none.
fn read_index(path: &Utf8Path) -> Result<String, InitrdError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        file => file.at("open", path).map_err(InitrdError::Modules)?,
    };
    let mut text = Vec::new();
    Limited::new(file, INDEX_LIMIT)
        .read_to_end(&mut text)
        .at("read", path)
        .map_err(InitrdError::Modules)?;
    String::from_utf8(text).map_err(|_| InitrdError::Damaged {
        path: path.to_owned(),
        problem: "it is not text".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_names_are_told_from_paths() {
        let cases = [
            ("kernel/fs/ext4/ext4.ko", Some("ext4")),
            ("virtio-blk.ko.xz", Some("virtio_blk")),
            ("a.ko.zst", Some("a")),
            ("a.ko.debug", None),
            ("a.kok", None),
            (".ko", None),
            ("modules.order", None),
        ];
        for (path, name) in cases {
            assert_eq!(module_name(path).as_deref(), name, "{path}");
        }
    }

    #[test]
    fn a_dependency_line_is_read() {
        let (module, needed) = dependency_line("kernel/a-b.ko.xz: kernel/c.ko.xz d.ko").unwrap();
        assert_eq!((module.as_str(), needed.len()), ("a_b", 2));
        assert_eq!(dependency_line("kernel/a.ko:").unwrap().1, [""; 0]);
        assert_eq!(dependency_line("garbage"), None);
    }
}
