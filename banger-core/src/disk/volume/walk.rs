//! A whole tree, one entry after the other, always in the same order.

use std::collections::{HashMap, HashSet, btree_map};

use super::{Inode, Volume, inode::ROOT};
use crate::disk::{DiskError, EntryType, MAX_DEPTH};

/// The number of the directory that ext4 keeps for itself.
const LOST_AND_FOUND: (&[u8], u32) = (b"lost+found", 11);

/// Something in the tree.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// Its path without a slash before it; empty for the root.
    pub(crate) path: Vec<u8>,
    /// What it is.
    pub(crate) inode: Inode,
    /// The path of the same inode that came first, if this is not the first.
    pub(crate) first: Option<Vec<u8>>,
}

/// Names that are left, and their inodes.
type Names = btree_map::IntoIter<Vec<u8>, u32>;

/// Walks a tree: the root first, parents before what is in them, names in the
/// order of their bytes. An empty `lost+found`, which every ext4 has, is left
/// out.
pub(crate) struct Walk<'a> {
    volume: &'a Volume,
    /// The directories on the way, and the names in them that are left.
    open: Vec<(Vec<u8>, Names)>,
    /// Directories that were met: each has one name.
    met: HashSet<u32>,
    /// First paths of files that have more names.
    linked: HashMap<u32, Vec<u8>>,
    has_begun: bool,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(volume: &'a Volume) -> Self {
        Self {
            volume,
            open: Vec::new(),
            met: HashSet::new(),
            linked: HashMap::new(),
            has_begun: false,
        }
    }

    fn next_node(&mut self) -> Result<Option<Node>, DiskError> {
        if !self.has_begun {
            self.has_begun = true;
            return self.visit(Vec::new(), ROOT).map(Some);
        }
        while let Some((directory, names)) = self.open.last_mut() {
            let Some((name, number)) = names.next() else {
                self.open.pop();
                continue;
            };
            let path = match directory.as_slice() {
                [] => name,
                directory => [directory, b"/", &name].concat(),
            };
            let node = self.visit(path, number)?;
            if !self.is_lost_and_found(&node) {
                return Ok(Some(node));
            }
        }
        Ok(None)
    }

    fn visit(&mut self, path: Vec<u8>, number: u32) -> Result<Node, DiskError> {
        let inode = self.volume.inode(number)?;
        if inode.kind == EntryType::Directory {
            self.enter(&path, &inode)?;
        }
        let first = self.linked.get(&number).cloned();
        if first.is_none() && inode.kind != EntryType::Directory && 1 < inode.links {
            self.linked.insert(number, path.clone());
        }
        Ok(Node { path, inode, first })
    }

    fn enter(&mut self, path: &[u8], directory: &Inode) -> Result<(), DiskError> {
        let number = directory.number;
        let is_root = path.is_empty();
        if is_root != (number == ROOT) || !self.met.insert(number) {
            let problem = format!("directory {number} has several names");
            return Err(self.volume.damaged(problem));
        }
        if MAX_DEPTH < self.open.len() {
            return Err(DiskError::TooMuch {
                disk: self.volume.path.clone(),
            });
        }
        let names = self.volume.names(directory)?;
        self.open.push((path.to_vec(), names.into_iter()));
        Ok(())
    }

    fn is_lost_and_found(&self, node: &Node) -> bool {
        let (name, number) = LOST_AND_FOUND;
        let is_empty = self.open.last().is_some_and(|(_, names)| names.len() == 0);
        let is_directory = node.inode.kind == EntryType::Directory;
        node.path == name && node.inode.number == number && is_directory && is_empty
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Node, DiskError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_node().transpose()
    }
}
