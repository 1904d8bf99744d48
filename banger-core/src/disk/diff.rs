//! What differs between two disks.

use std::cmp::Ordering;

use sha2::{Digest as _, Sha256};

use super::{DiskEntry, DiskError, DiskReader, EntryType, walk::Walk};

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

impl Difference {
    fn of(entry: DiskEntry, change: Change) -> Self {
        Self {
            path: entry.path,
            change,
            properties: Vec::new(),
        }
    }
}

/// What differs between two disks, by path. Links, extended attributes and
/// device numbers are not compared: the reader does not tell them.
pub fn differences(one: &DiskReader, other: &DiskReader) -> Result<Vec<Difference>, DiskError> {
    let mut found = Vec::new();
    compare((one, other), b"", &|| false, |difference| {
        found.push(difference);
    })?;
    Ok(found)
}

/// The same one after the other, in the order of the paths' bytes: those that come
/// after `after`, until it is given up.
pub fn compare(
    (one, other): (&DiskReader, &DiskReader),
    after: &[u8],
    is_given_up: &dyn Fn() -> bool,
    mut sink: impl FnMut(Difference),
) -> Result<(), DiskError> {
    let mut before = Walk::whole(one, after)?;
    let mut later = Walk::whole(other, after)?;
    let (mut old, mut new) = (before.next().transpose()?, later.next().transpose()?);
    while !is_given_up() {
        let order = match (&old, &new) {
            (Some(old), Some(new)) => old.path.cmp(&new.path),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => break,
        };
        let is_old = order != Ordering::Greater;
        let is_new = order != Ordering::Less;
        let gone = old.take_if(|_| is_old);
        let come = new.take_if(|_| is_new);
        match (gone, come) {
            (Some(gone), Some(come)) => {
                let properties = changed((one, &gone), (other, &come), is_given_up)?;
                if !properties.is_empty() {
                    sink(Difference {
                        properties,
                        ..Difference::of(come, Change::Changed)
                    });
                }
            }
            (Some(gone), None) => sink(Difference::of(gone, Change::Deleted)),
            (None, Some(come)) => sink(Difference::of(come, Change::Added)),
            (None, None) => {}
        }
        if is_old {
            old = before.next().transpose()?;
        }
        if is_new {
            new = later.next().transpose()?;
        }
    }
    Ok(())
}

type OnDisk<'a> = (&'a DiskReader, &'a DiskEntry);

/// The properties in which two entries of the same path differ.
fn changed(
    one: OnDisk<'_>,
    other: OnDisk<'_>,
    is_given_up: &dyn Fn() -> bool,
) -> Result<Vec<&'static str>, DiskError> {
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
    if is_file && old.size == new.size && hash(one, is_given_up)? != hash(other, is_given_up)? {
        properties.push("content");
    }
    Ok(properties)
}

fn hash((disk, entry): OnDisk<'_>, is_given_up: &dyn Fn() -> bool) -> Result<[u8; 32], DiskError> {
    let mut hasher = Sha256::new();
    disk.read(&entry.path, |bytes| {
        hasher.update(bytes);
        !is_given_up()
    })?;
    Ok(hasher.finalize().into())
}
