//! What differs between two disks.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::{DiskEntry, DiskError, DiskReader, EntryType};

/// What happened to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is only on the second disk.
    Added,
    /// It is only on the first disk.
    Deleted,
    /// It is on both and not the same.
    Changed,
}

/// A path that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The path.
    pub path: Vec<u8>,
    /// What happened to it.
    pub change: Change,
    /// Which of its properties changed.
    pub properties: Vec<&'static str>,
}

/// What differs between two disks, by path. Links, extended attributes and
/// device numbers are not compared: the reader does not tell them.
pub fn differences(one: &DiskReader, other: &DiskReader) -> Result<Vec<Difference>, DiskError> {
    let (before, after) = (by_path(one)?, by_path(other)?);
    let mut found = Vec::new();
    for (path, old) in &before {
        let (change, properties) = match after.get(path) {
            None => (Change::Deleted, Vec::new()),
            Some(new) => (Change::Changed, changed((one, old), (other, new))?),
        };
        if change == Change::Deleted || !properties.is_empty() {
            found.push(Difference {
                path: path.clone(),
                change,
                properties,
            });
        }
    }
    let added = after.keys().filter(|path| !before.contains_key(*path));
    found.extend(added.map(|path| Difference {
        path: path.clone(),
        change: Change::Added,
        properties: Vec::new(),
    }));
    found.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(found)
}

fn by_path(disk: &DiskReader) -> Result<BTreeMap<Vec<u8>, DiskEntry>, DiskError> {
    let entries = disk.list(b"/", true)?.into_iter();
    let entries = entries.chain([disk.entry(b"/")?]);
    Ok(entries.map(|entry| (entry.path.clone(), entry)).collect())
}

type OnDisk<'a> = (&'a DiskReader, &'a DiskEntry);

/// The properties in which two entries of the same path differ.
fn changed(one: OnDisk<'_>, other: OnDisk<'_>) -> Result<Vec<&'static str>, DiskError> {
    let (old, new) = (one.1, other.1);
    if old.kind != new.kind {
        return Ok(vec!["type"]);
    }
    let is_file = old.kind == EntryType::File;
    let compared = [
        ("mode", old.mode != new.mode),
        ("owner", (old.uid, old.gid) != (new.uid, new.gid)),
        ("time", old.modified != new.modified),
        ("target", old.target != new.target),
        ("size", is_file && old.size != new.size),
    ];
    let different = compared.iter().filter(|(_, differs)| *differs);
    let mut properties: Vec<_> = different.map(|(name, _)| *name).collect();
    // only files of one size need to be read
    if is_file && old.size == new.size && hash(one)? != hash(other)? {
        properties.push("content");
    }
    Ok(properties)
}

fn hash((disk, entry): OnDisk<'_>) -> Result<[u8; 32], DiskError> {
    let mut hasher = Sha256::new();
    disk.read(&entry.path, |bytes| {
        hasher.update(bytes);
        true
    })?;
    Ok(hasher.finalize().into())
}
