//! The merged tree as the ext4 writer wants to see it.
//!
//! Invariants: inodes are numbered without gaps in the order of a walk by
//! name, the root first, so that the disk's bytes depend on the tree alone.

use std::collections::BTreeMap;

use super::{
    place::{Extents, Placed},
    placements::{ContentKey, Placements},
    tree::{NodeId, NodeKind, ROOT, Tree},
};
use crate::{
    ext4::{Inode, Kind, Timestamp},
    layer::Content,
};

/// The inodes with a name, numbered.
pub(super) struct Numbering {
    order: Vec<NodeId>,
    /// By node; nodes without a name have none.
    numbers: Vec<Option<u32>>,
}

impl Numbering {
    pub(super) fn of(tree: &Tree) -> Self {
        let mut numbering = Self {
            order: Vec::new(),
            numbers: vec![None; tree.inode_count()],
        };
        numbering.add(ROOT);
        let mut next = 0;
        while let Some(id) = numbering.order.get(next) {
            let children = tree.children(*id).into_iter().flatten();
            children.for_each(|(_, child)| numbering.add(*child));
            next += 1;
        }
        numbering
    }

    fn add(&mut self, id: NodeId) {
        let number = &mut self.numbers[id.index()];
        if number.is_none() {
            *number = u32::try_from(self.order.len()).ok();
            self.order.push(id);
        }
    }

    /// The content of every file that has stored bytes, by where it is.
    pub(super) fn contents<'t>(
        &self,
        tree: &'t Tree,
    ) -> impl Iterator<Item = (ContentKey, &'t Content)> {
        let stored = |id: &NodeId| match &tree.node(*id).kind {
            NodeKind::File { layer, content } if content.stored != 0 => {
                Some(((*layer, content.offset), content))
            }
            _ => None,
        };
        self.order.iter().filter_map(stored)
    }

    /// A path of the inode with that number, escaped.
    fn path(&self, tree: &Tree, number: usize) -> String {
        let mut path = String::new();
        let mut wanted = self.order.get(number).copied();
        while let Some(id) = wanted.filter(|id| *id != ROOT) {
            let parent = self.parent(tree, id);
            let name = parent.map(|(_, name)| name.escape_ascii().to_string());
            path = format!("/{}{path}", name.unwrap_or_default());
            wanted = parent.map(|(directory, _)| directory);
        }
        if path.is_empty() {
            "/".to_owned()
        } else {
            path
        }
    }

    /// A directory that has the inode, and its name there. It is looked for
    /// only to tell of an error.
    fn parent<'t>(&self, tree: &'t Tree, wanted: NodeId) -> Option<(NodeId, &'t [u8])> {
        self.order.iter().find_map(|directory| {
            let mut children = tree.children(*directory)?.iter();
            let (name, _) = children.find(|(_, child)| **child == wanted)?;
            Some((*directory, name.as_ref()))
        })
    }
}

/// The tree, its numbering and its content.
pub(super) struct View {
    pub(super) tree: Tree,
    pub(super) numbering: Numbering,
    extents: Extents,
    /// Where the content of each inode is, by number.
    placed: Vec<Placed>,
}

impl crate::ext4::Tree for View {
    fn inode_count(&self) -> usize {
        self.numbering.order.len()
    }

    fn inode(&self, number: usize) -> Inode<'_> {
        let node = self.tree.node(self.numbering.order[number]);
        let metadata = node.metadata;
        Inode {
            kind: self.kind(number, &node.kind),
            mode: metadata.mode,
            uid: metadata.uid,
            gid: metadata.gid,
            modified: Timestamp {
                seconds: metadata.mtime.seconds,
                nanoseconds: metadata.mtime.nanoseconds,
            },
            xattrs: &node.xattrs,
        }
    }

    fn entries(&self, directory: usize) -> impl Iterator<Item = (&[u8], usize)> {
        let children = self.tree.children(self.numbering.order[directory]);
        children.into_iter().flatten().map(|(name, child)| {
            let number = self.numbering.numbers[child.index()].unwrap_or(0);
            (name.as_ref(), number as usize)
        })
    }
}

impl View {
    /// Puts together what describes the disk.
    pub(super) fn new(
        tree: Tree,
        numbering: Numbering,
        extents: Extents,
        placements: &Placements,
    ) -> Self {
        let placed = |id: &NodeId| match &tree.node(*id).kind {
            // content without a place is all holes
            NodeKind::File { layer, content } => placements.of((*layer, content.offset)),
            _ => None,
        };
        let placed = numbering
            .order
            .iter()
            .map(|id| placed(id).unwrap_or_default());
        Self {
            placed: placed.collect(),
            tree,
            numbering,
            extents,
        }
    }

    /// A path of the inode with that number, escaped.
    pub(super) fn path(&self, number: usize) -> String {
        self.numbering.path(&self.tree, number)
    }

    /// Names in the tree, the root not counted.
    pub(super) fn entry_count(&self) -> u64 {
        let directories = self.numbering.order.iter();
        let names = directories.filter_map(|id| self.tree.children(*id).map(BTreeMap::len));
        names.sum::<usize>() as u64
    }

    fn kind<'a>(&'a self, number: usize, kind: &'a NodeKind) -> Kind<'a> {
        match kind {
            NodeKind::Directory(_) => Kind::Directory,
            NodeKind::File { content, .. } => Kind::File {
                size: content.size,
                extents: self.extents.of(self.placed[number]),
            },
            NodeKind::Symlink(target) => Kind::Symlink(target),
            NodeKind::CharDevice { major, minor } => Kind::CharDevice {
                major: *major,
                minor: *minor,
            },
            NodeKind::BlockDevice { major, minor } => Kind::BlockDevice {
                major: *major,
                minor: *minor,
            },
            NodeKind::Fifo => Kind::Fifo,
        }
    }
}
