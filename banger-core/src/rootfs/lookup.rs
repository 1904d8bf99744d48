//! Finding paths in a tree, as a kernel rooted there would.
//!
//! Symbolic links among the parents are followed inside the tree: absolute
//! targets start at its root, `..` stops there. The last component is never
//! followed.

use std::collections::VecDeque;

use super::tree::{NodeId, NodeKind, ROOT, Tree, implicit_directory};

/// Links followed before a path counts as a loop (kernel, `MAXSYMLINKS`).
const MAX_LINKS: usize = 40;

/// A directory cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LookupError {
    #[error("a parent is not a directory")]
    NotADirectory,
    #[error("its parents are a loop of symbolic links")]
    Loop,
}

/// The directory at `path`, or none when a part is missing.
pub(super) fn find_directory(tree: &Tree, path: &[u8]) -> Result<Option<NodeId>, LookupError> {
    if let Some(id) = plain_directory(tree, path) {
        return Ok(Some(id));
    }
    let mut walk = Walk::new(path);
    while let Some(name) = walk.next_name()? {
        let Some(id) = tree.child(walk.current(), &name) else {
            return Ok(None);
        };
        walk.enter(tree, id)?;
    }
    Ok(Some(walk.current()))
}

/// The directory at `path`; missing parts are made.
pub(super) fn make_directory(
    tree: &mut Tree,
    path: &[u8],
    created_unix: i64,
) -> Result<NodeId, LookupError> {
    if let Some(id) = plain_directory(tree, path) {
        return Ok(id);
    }
    let mut walk = Walk::new(path);
    while let Some(name) = walk.next_name()? {
        let id = child_or_new(tree, walk.current(), &name, created_unix);
        walk.enter(tree, id)?;
    }
    Ok(walk.current())
}

/// The directory at `path` when all its parts are there and none is a link,
/// which is nearly always so.
fn plain_directory(tree: &Tree, path: &[u8]) -> Option<NodeId> {
    if path.is_empty() {
        return Some(ROOT);
    }
    let mut names = path.split(|byte| *byte == b'/');
    names.try_fold(ROOT, |directory, name| {
        let child = tree.child(directory, name)?;
        tree.node(child).kind.is_directory().then_some(child)
    })
}

fn child_or_new(tree: &mut Tree, directory: NodeId, name: &[u8], created_unix: i64) -> NodeId {
    if let Some(id) = tree.child(directory, name) {
        return id;
    }
    let id = tree.add(implicit_directory(created_unix));
    tree.bind(directory, name, id);
    id
}

/// A walk down a tree.
struct Walk {
    /// The directories from the root to where the walk is.
    trail: Vec<NodeId>,
    left: VecDeque<Box<[u8]>>,
    links: usize,
}

impl Walk {
    fn new(path: &[u8]) -> Self {
        Self {
            trail: vec![ROOT],
            left: path.split(|byte| *byte == b'/').map(Box::from).collect(),
            links: 0,
        }
    }

    fn current(&self) -> NodeId {
        self.trail.last().copied().unwrap_or(ROOT)
    }

    /// The next name to look up in the current directory.
    fn next_name(&mut self) -> Result<Option<Box<[u8]>>, LookupError> {
        while let Some(name) = self.left.pop_front() {
            match name.as_ref() {
                b"" | b"." => {}
                b".." => self.ascend(),
                _ => return Ok(Some(name)),
            }
        }
        if MAX_LINKS < self.links {
            Err(LookupError::Loop)
        } else {
            Ok(None)
        }
    }

    fn ascend(&mut self) {
        if 1 < self.trail.len() {
            self.trail.pop();
        }
    }

    /// Steps onto an inode: into a directory, or along a link.
    fn enter(&mut self, tree: &Tree, id: NodeId) -> Result<(), LookupError> {
        match &tree.node(id).kind {
            NodeKind::Directory(_) => self.trail.push(id),
            NodeKind::Symlink(target) => self.follow(target)?,
            _ => return Err(LookupError::NotADirectory),
        }
        Ok(())
    }

    fn follow(&mut self, target: &[u8]) -> Result<(), LookupError> {
        self.links += 1;
        if MAX_LINKS < self.links {
            return Err(LookupError::Loop);
        }
        if target.starts_with(b"/") {
            self.trail.truncate(1);
        }
        for component in target.rsplit(|byte| *byte == b'/') {
            self.left.push_front(component.into());
        }
        Ok(())
    }
}
