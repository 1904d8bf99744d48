//! Joining layers by the rules of OCI image-spec, `layer.md`.
//!
//! A layer is applied in two steps. First its whiteouts and opaque markers act
//! on the tree of the lower layers, wherever they stand in the layer: they
//! never hide anything of their own layer. Then its entries are added in
//! order, the last of a name winning.

use std::collections::BTreeMap;

use super::{
    acl,
    lookup::{LookupError, find_directory, make_directory},
    tree::{Node, NodeId, NodeKind, ROOT, Tree},
};
use crate::layer::{Entry, EntryKind, LayerPath, Metadata, Xattrs};

/// Prefix of a whiteout's name (`layer.md`, "Whiteouts").
const WHITEOUT: &[u8] = b".wh.";
/// Name of an opaque marker (`layer.md`, "Opaque Whiteout").
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Prefix of names that builders keep for themselves; they describe nothing.
const RESERVED: &[u8] = b".wh..wh.";

/// The directory that every ext4 disk has for itself (`e2fsck` puts what it
/// finds there). Images made of disks hold an empty one, which means nothing.
const LOST_AND_FOUND: &[u8] = b"lost+found";

/// An entry that cannot be merged.
#[derive(Debug)]
pub(super) struct MergeError {
    pub(super) path: LayerPath,
    pub(super) problem: String,
}

/// Applies the entries of one layer, lowest layer first.
pub(super) fn apply_layer(
    tree: &mut Tree,
    layer: usize,
    entries: Vec<Entry>,
    created_unix: i64,
) -> Result<(), MergeError> {
    let (whiteouts, additions): (Vec<Entry>, Vec<Entry>) =
        entries.into_iter().partition(is_whiteout);
    // a link may name a file that this very layer hides
    let lower_targets = additions
        .iter()
        .map(|entry| lower_target(tree, entry))
        .collect::<Vec<_>>();
    for entry in &whiteouts {
        whiteout(tree, &entry.path).map_err(|error| failed(&entry.path, &error))?;
    }
    let mut layer = Layer {
        tree,
        number: layer,
        created_unix,
        last_parent: None,
    };
    for (entry, lower_target) in additions.into_iter().zip(lower_targets) {
        layer.add(entry, lower_target)?;
    }
    Ok(())
}

fn failed(path: &LayerPath, problem: &impl ToString) -> MergeError {
    MergeError {
        path: path.clone(),
        problem: problem.to_string(),
    }
}

/// What a marker hides of the layers below its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whiteout<'a> {
    /// All that is in a directory.
    Opaque { directory: &'a [u8] },
    /// One name in a directory.
    Of { directory: &'a [u8], name: &'a [u8] },
    /// It is a builder's own note.
    Nothing,
}

/// What the entry at `path` hides, if it is a marker.
pub(super) fn whiteout_of(path: &LayerPath) -> Option<Whiteout<'_>> {
    let (directory, name) = path.split()?;
    let hidden = name.strip_prefix(WHITEOUT)?;
    Some(if name == OPAQUE {
        Whiteout::Opaque { directory }
    } else if name.starts_with(RESERVED) {
        Whiteout::Nothing
    } else {
        Whiteout::Of {
            directory,
            name: hidden,
        }
    })
}

fn is_whiteout(entry: &Entry) -> bool {
    whiteout_of(&entry.path).is_some()
}

/// Hides what a whiteout names; something that is not there is fine.
fn whiteout(tree: &mut Tree, path: &LayerPath) -> Result<(), LookupError> {
    match whiteout_of(path) {
        Some(Whiteout::Opaque { directory }) => {
            if let Some(directory) = find_directory(tree, directory)? {
                tree.clear(directory);
            }
        }
        Some(Whiteout::Of { directory, name }) => {
            if let Some(directory) = find_directory(tree, directory)? {
                tree.unbind(directory, name);
            }
        }
        Some(Whiteout::Nothing) | None => {}
    }
    Ok(())
}

/// The inode of the lower layers that a hard link names, if it names one.
fn lower_target(tree: &Tree, entry: &Entry) -> Option<NodeId> {
    match &entry.kind {
        EntryKind::HardLink(target) => find(tree, target),
        _ => None,
    }
}

/// The inode at a path; its last component is not followed.
fn find(tree: &Tree, path: &LayerPath) -> Option<NodeId> {
    let (parents, name) = path.split()?;
    let directory = find_directory(tree, parents).ok()??;
    tree.child(directory, name)
}

/// A layer being added.
struct Layer<'a> {
    tree: &'a mut Tree,
    number: usize,
    created_unix: i64,
    /// Where the last entry went; none once a name was replaced, which may be
    /// one of the path's.
    last_parent: Option<(Box<[u8]>, NodeId)>,
}

impl Layer<'_> {
    fn add(&mut self, mut entry: Entry, lower_target: Option<NodeId>) -> Result<(), MergeError> {
        let path = entry.path.clone();
        acl::to_disk_form(&mut entry).map_err(|problem| failed(&path, &problem))?;
        let Some((parents, name)) = path.split() else {
            return self.describe_root(entry);
        };
        if path.prefixes().next() == Some(LOST_AND_FOUND) {
            return disks_own(&entry);
        }
        let directory = self.parent(parents);
        let directory = directory.map_err(|error| failed(&path, &error))?;
        let (metadata, xattrs) = (entry.metadata, entry.xattrs);
        match node_kind(entry.kind, self.number) {
            Ok(kind) => self.place(
                directory,
                name,
                Node {
                    kind,
                    metadata,
                    xattrs,
                },
            ),
            Err(target) => {
                let inode = find(self.tree, &target).or(lower_target);
                self.link(directory, name, inode)
                    .map_err(|problem| failed(&path, &problem))?;
            }
        }
        Ok(())
    }

    /// The directory at a path; entries of one follow each other.
    fn parent(&mut self, path: &[u8]) -> Result<NodeId, LookupError> {
        if let Some((last, directory)) = &self.last_parent
            && **last == *path
        {
            return Ok(*directory);
        }
        let directory = make_directory(self.tree, path, self.created_unix)?;
        self.last_parent = Some((path.into(), directory));
        Ok(directory)
    }

    /// Gives a new inode its name; a directory that is there already is only
    /// described anew and keeps what is in it.
    fn place(&mut self, directory: NodeId, name: &[u8], node: Node) {
        match self.tree.child(directory, name) {
            Some(existing) if self.is_directory(existing) && node.kind.is_directory() => {
                self.describe(existing, node.metadata, node.xattrs);
            }
            existing => {
                let id = self.tree.add(node);
                self.tree.bind(directory, name, id);
                self.last_parent.take_if(|_| existing.is_some());
            }
        }
    }

    fn is_directory(&self, id: NodeId) -> bool {
        self.tree.node(id).kind.is_directory()
    }

    fn describe(&mut self, directory: NodeId, metadata: Metadata, xattrs: Xattrs) {
        let node = self.tree.node_mut(directory);
        node.metadata = metadata;
        node.xattrs = xattrs;
    }

    fn describe_root(&mut self, entry: Entry) -> Result<(), MergeError> {
        if entry.kind != EntryKind::Directory {
            return Err(failed(&entry.path, &"the root is a directory"));
        }
        self.describe(ROOT, entry.metadata, entry.xattrs);
        Ok(())
    }

    fn link(
        &mut self,
        directory: NodeId,
        name: &[u8],
        inode: Option<NodeId>,
    ) -> Result<(), &'static str> {
        let inode = inode.ok_or("the file it is a hard link to does not exist")?;
        if self.tree.node(inode).kind.is_directory() {
            return Err("it is a hard link to a directory");
        }
        self.tree.bind(directory, name, inode);
        self.last_parent = None;
        Ok(())
    }
}

/// An entry at or below the disk's own directory.
fn disks_own(entry: &Entry) -> Result<(), MergeError> {
    if entry.kind == EntryKind::Directory && entry.path.as_bytes() == LOST_AND_FOUND {
        return Ok(());
    }
    Err(failed(&entry.path, &"ext4 keeps /lost+found for itself"))
}

/// What an entry becomes; a hard link becomes nothing new and answers its
/// target.
fn node_kind(kind: EntryKind, layer: usize) -> Result<NodeKind, LayerPath> {
    Ok(match kind {
        EntryKind::Directory => NodeKind::Directory(BTreeMap::new()),
        EntryKind::File(content) => NodeKind::File { layer, content },
        EntryKind::Symlink(target) => NodeKind::Symlink(target),
        EntryKind::HardLink(target) => return Err(target),
        EntryKind::CharDevice { major, minor } => NodeKind::CharDevice { major, minor },
        EntryKind::BlockDevice { major, minor } => NodeKind::BlockDevice { major, minor },
        EntryKind::Fifo => NodeKind::Fifo,
    })
}

#[cfg(test)]
mod tests;
