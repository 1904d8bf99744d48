//! The merged tree in memory.
//!
//! Invariants: inodes are never moved or freed while the tree lives, so a
//! hard link is just a second name of an inode; every directory but the root
//! has exactly one name; names are bytes.

use std::collections::BTreeMap;

use crate::layer::{Content, Metadata, Timestamp, Xattrs};

/// An inode of a [`Tree`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct NodeId(usize);

/// One inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) kind: NodeKind,
    pub(super) metadata: Metadata,
    pub(super) xattrs: Xattrs,
}

/// What an inode is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NodeKind {
    Directory(BTreeMap<Box<[u8]>, NodeId>),
    File { layer: usize, content: Content },
    Symlink(Vec<u8>),
    CharDevice { major: u32, minor: u32 },
    BlockDevice { major: u32, minor: u32 },
    Fifo,
}

impl NodeKind {
    pub(super) const fn is_directory(&self) -> bool {
        matches!(self, Self::Directory(_))
    }
}

/// A file system tree.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
}

pub(super) const ROOT: NodeId = NodeId(0);

impl Tree {
    /// A root directory and nothing in it.
    pub(super) fn new(created_unix: i64) -> Self {
        Self {
            nodes: vec![implicit_directory(created_unix)],
        }
    }

    pub(super) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    pub(super) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.0]
    }

    /// Adds an inode that has no name yet.
    pub(super) fn add(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        NodeId(self.nodes.len() - 1)
    }

    /// The children of a directory; none of anything else.
    pub(super) fn children(&self, id: NodeId) -> Option<&BTreeMap<Box<[u8]>, NodeId>> {
        match &self.node(id).kind {
            NodeKind::Directory(children) => Some(children),
            _ => None,
        }
    }

    pub(super) fn child(&self, directory: NodeId, name: &[u8]) -> Option<NodeId> {
        self.children(directory)?.get(name).copied()
    }

    /// Gives an inode a name, in place of what had it.
    pub(super) fn bind(&mut self, directory: NodeId, name: &[u8], id: NodeId) {
        if let NodeKind::Directory(children) = &mut self.node_mut(directory).kind {
            children.insert(name.into(), id);
        }
    }

    /// Takes a name away, with everything below it.
    pub(super) fn unbind(&mut self, directory: NodeId, name: &[u8]) {
        if let NodeKind::Directory(children) = &mut self.node_mut(directory).kind {
            children.remove(name);
        }
    }

    /// Empties a directory.
    pub(super) fn clear(&mut self, directory: NodeId) {
        if let NodeKind::Directory(children) = &mut self.node_mut(directory).kind {
            children.clear();
        }
    }

    /// How many inodes there are, named or not: the bound of [`NodeId`]s.
    pub(super) const fn inode_count(&self) -> usize {
        self.nodes.len()
    }
}

impl NodeId {
    pub(super) const fn index(self) -> usize {
        self.0
    }
}

/// A directory that no layer describes.
pub(super) fn implicit_directory(created_unix: i64) -> Node {
    Node {
        kind: NodeKind::Directory(BTreeMap::new()),
        metadata: Metadata {
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: Timestamp {
                seconds: created_unix,
                nanoseconds: 0,
            },
        },
        xattrs: Vec::new(),
    }
}
