//! A tree as a map from paths to everything that can be told of them.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::{OsStr, OsString},
    fs,
    os::unix::{
        ffi::{OsStrExt as _, OsStringExt as _},
        fs::{FileTypeExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
};

use banger_core::domain::Digest;

/// What is known of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Description {
    pub(crate) kind: String,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) mtime: (i64, i64),
    pub(crate) device: u64,
    /// The first path of the same inode, for files with several.
    pub(crate) same_as: Option<PathBuf>,
    pub(crate) xattrs: BTreeMap<OsString, Vec<u8>>,
}

pub(crate) type Snapshot = BTreeMap<PathBuf, Description>;

/// Describes everything below `root`, itself included.
pub(crate) fn snapshot(root: &Path) -> Snapshot {
    let mut paths = vec![PathBuf::new()];
    let mut snapshot = Snapshot::new();
    let mut inodes = HashMap::new();
    while let Some(path) = paths.pop() {
        let full = root.join(&path);
        if fs::symlink_metadata(&full).unwrap().is_dir() {
            let children = fs::read_dir(&full)
                .unwrap()
                .map(|entry| path.join(entry.unwrap().file_name()));
            paths.extend(children);
        }
        snapshot.insert(path.clone(), describe(&full));
    }
    for (path, description) in &mut snapshot {
        let metadata = fs::symlink_metadata(root.join(path)).unwrap();
        if !metadata.is_dir() && 1 < metadata.nlink() {
            let first = inodes.entry(metadata.ino()).or_insert_with(|| path.clone());
            description.same_as = Some(first.clone());
        }
    }
    snapshot
}

fn describe(path: &Path) -> Description {
    let metadata = fs::symlink_metadata(path).unwrap();
    let is_device = metadata.file_type().is_char_device() || metadata.file_type().is_block_device();
    Description {
        kind: kind(path, &metadata),
        mode: metadata.mode() & 0o7777,
        owner: (metadata.uid(), metadata.gid()),
        mtime: (metadata.mtime(), metadata.mtime_nsec()),
        device: if is_device { metadata.rdev() } else { 0 },
        same_as: None,
        xattrs: xattrs(path),
    }
}

fn kind(path: &Path, metadata: &fs::Metadata) -> String {
    let file_type = metadata.file_type();
    if file_type.is_file() {
        let content = fs::read(path).unwrap();
        return format!("file of {} bytes, {}", content.len(), Digest::of(&content));
    }
    if file_type.is_symlink() {
        return format!("link to {}", fs::read_link(path).unwrap().display());
    }
    format!("type {:o}", metadata.mode() & 0o170_000)
}

fn xattrs(path: &Path) -> BTreeMap<OsString, Vec<u8>> {
    let mut names = vec![0; 65_536];
    let length = rustix::fs::llistxattr(path, &mut names).unwrap();
    let names = names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty());
    names
        .map(|name| {
            (
                OsString::from_vec(name.to_vec()),
                value(path, OsStr::from_bytes(name)),
            )
        })
        .collect()
}

fn value(path: &Path, name: &OsStr) -> Vec<u8> {
    let mut value = vec![0; 65_536];
    let length = rustix::fs::lgetxattr(path, name, &mut value).unwrap();
    value.truncate(length);
    value
}
