//! What is on a disk in the order of the paths, without holding all of it.
//!
//! Invariants: every path comes after the one before, by its bytes; only what is in the
//! directories on the way is held. Entry points: [`Walk`].

use std::{cmp::Ordering, collections::BinaryHeap};

use super::{DiskEntry, DiskError, DiskReader, EntryType, MAX_DEPTH, MAX_ENTRIES};

/// Where a walk leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WalkOptions {
    /// Into all directories below the first.
    pub recursive: bool,
    /// Only what comes after this path by its bytes is told of.
    pub after: Vec<u8>,
}

/// A walk over a disk. It ends with the first error.
#[derive(Debug)]
pub struct Walk<'a> {
    disk: &'a DiskReader,
    options: WalkOptions,
    /// What was found and not told of yet: a directory is opened when its turn comes,
    /// and all that it holds comes after it.
    found: BinaryHeap<Found>,
    told: usize,
}

#[derive(Debug)]
struct Found {
    entry: DiskEntry,
    depth: usize,
}

// the heap gives the greatest first
impl Ord for Found {
    fn cmp(&self, other: &Self) -> Ordering {
        other.entry.path.cmp(&self.entry.path)
    }
}

impl PartialOrd for Found {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Found {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Found {}

impl<'a> Walk<'a> {
    /// One over what is in the directory at `path`; over anything else alone.
    pub(super) fn inside(
        disk: &'a DiskReader,
        path: &[u8],
        options: WalkOptions,
    ) -> Result<Self, DiskError> {
        let top = disk.entry(path)?;
        let mut walk = Self::nowhere(disk, options);
        if top.kind == EntryType::Directory {
            walk.open(&top.path, 0)?;
        } else {
            walk.found.push(Found {
                entry: top,
                depth: 0,
            });
        }
        Ok(walk)
    }

    /// One over the whole disk, its root first.
    pub(super) fn whole(disk: &'a DiskReader, after: &[u8]) -> Result<Self, DiskError> {
        let options = WalkOptions {
            recursive: true,
            after: after.to_vec(),
        };
        let mut walk = Self::nowhere(disk, options);
        walk.found.push(Found {
            entry: disk.entry(b"/")?,
            depth: 0,
        });
        Ok(walk)
    }

    const fn nowhere(disk: &'a DiskReader, options: WalkOptions) -> Self {
        Self {
            disk,
            options,
            found: BinaryHeap::new(),
            told: 0,
        }
    }

    fn open(&mut self, directory: &[u8], depth: usize) -> Result<(), DiskError> {
        let entries = self.disk.directory(directory)?;
        if MAX_DEPTH < depth || MAX_ENTRIES < self.told + self.found.len() + entries.len() {
            return Err(DiskError::TooMuch {
                disk: self.disk.file.clone(),
            });
        }
        let found = entries.into_iter().map(|entry| Found { entry, depth });
        self.found.extend(found);
        Ok(())
    }

    /// Whether anything in a directory may be told of.
    fn is_wanted(&self, directory: &[u8]) -> bool {
        let name = directory.strip_suffix(b"/").unwrap_or(directory);
        let inside = [name, b"/"].concat();
        self.options.after < inside || self.options.after.starts_with(&inside)
    }

    fn step(&mut self) -> Result<Option<DiskEntry>, DiskError> {
        while let Some(Found { entry, depth }) = self.found.pop() {
            let is_directory = entry.kind == EntryType::Directory;
            if is_directory && self.options.recursive && self.is_wanted(&entry.path) {
                self.open(&entry.path, depth + 1)?;
            }
            if self.options.after < entry.path {
                self.told += 1;
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<DiskEntry, DiskError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.step();
        if next.is_err() {
            self.found.clear();
        }
        next.transpose()
    }
}
