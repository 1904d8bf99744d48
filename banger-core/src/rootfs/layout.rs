//! Handing a merged tree to the ext4 writer.
//!
//! The writer wants every size before any byte, and is fastest when content
//! comes in the order of declaration: files are declared in the order in which
//! one pass over each layer meets their bytes.

use std::collections::HashMap;

use mkext4::{
    FsBuilder, InodeCount, InodeHandle, Layout, Meta, Options, ROOT as EXT4_ROOT, SparseSeg,
    SpecialKind,
};

use super::{
    RootfsError, RootfsRequest, acl,
    size::{BLOCK, Census},
    tree::{Node, NodeId, NodeKind, ROOT, Tree},
};
use crate::{
    domain::{Bytes, Digest},
    layer::{Component, Content, DataRun, Metadata, block_runs},
};

/// First and last second that 34 bits can say (kernel,
/// `Documentation/filesystems/ext4/inodes.rst`, "Inode Timestamps").
const TIMES: std::ops::RangeInclusive<i64> = -(1 << 31)..=(3 << 32) + (1 << 31) - 1;

/// A file whose bytes are still to come.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) handle: InodeHandle,
    pub(super) layer: usize,
    pub(super) content: Content,
    /// Blocks to write of a sparse file.
    pub(super) blocks: Option<Vec<DataRun>>,
}

/// A disk whose every byte but file content is decided.
pub(super) struct Plan {
    pub(super) layout: Layout,
    /// In the order of their bytes.
    pub(super) pending: Vec<Pending>,
}

/// Lays `tree` out on a disk of `size`.
pub(super) fn plan(
    tree: &Tree,
    request: &RootfsRequest,
    census: &Census,
    size: Bytes,
) -> Result<Plan, RootfsError> {
    let builder = FsBuilder::new(options(request, census, size)).map_err(layout_error)?;
    let mut planner = Planner {
        tree,
        builder,
        handles: HashMap::new(),
        pending: Vec::new(),
        request,
    };
    planner.set_root()?;
    planner.add_directories()?;
    planner.add_files()?;
    let Planner {
        builder, pending, ..
    } = planner;
    let layout = builder.seal().map_err(layout_error)?;
    Ok(Plan { layout, pending })
}

#[expect(clippy::needless_pass_by_value, reason = "an adapter for `map_err`")]
pub(super) fn layout_error(error: mkext4::Error) -> RootfsError {
    RootfsError::Layout {
        problem: error.to_string(),
    }
}

fn options(request: &RootfsRequest, census: &Census, size: Bytes) -> Options {
    let epoch = request.created_unix.clamp(0, i64::from(u32::MAX));
    let mut options = Options::new(size.get(), uuid(identity(request).as_bytes()), epoch);
    options.inodes = InodeCount::Exact(u32::try_from(census.inode_table()).unwrap_or(u32::MAX));
    options
}

/// What UUID and hash seed are derived from: the layers' content.
fn identity(request: &RootfsRequest) -> Digest {
    let diff_ids = request.layers.iter().map(|layer| layer.descriptor.diff_id);
    let chain: Vec<[u8; 32]> = diff_ids.map(|digest| *digest.as_bytes()).collect();
    Digest::of(&chain.concat())
}

/// A version 8 UUID (RFC 9562, 5.8) of the identity's first bytes.
fn uuid(identity: &[u8; 32]) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&identity[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes
}

struct Planner<'a> {
    tree: &'a Tree,
    builder: FsBuilder,
    /// What every named inode is called by the writer.
    handles: HashMap<NodeId, InodeHandle>,
    pending: Vec<Pending>,
    request: &'a RootfsRequest,
}

/// A name that is still to be declared.
struct Name<'a> {
    parent: InodeHandle,
    text: &'a str,
    id: NodeId,
    path: String,
}

impl<'a> Planner<'a> {
    fn set_root(&mut self) -> Result<(), RootfsError> {
        let node = self.tree.node(ROOT);
        let meta = self.meta(node.metadata, "/")?;
        self.builder
            .set_meta(EXT4_ROOT, meta)
            .map_err(layout_error)?;
        self.handles.insert(ROOT, EXT4_ROOT);
        self.set_xattrs(EXT4_ROOT, node, "/")
    }

    /// Declares the directories, parents first.
    fn add_directories(&mut self) -> Result<(), RootfsError> {
        let mut left = vec![(ROOT, String::new())];
        while let Some((directory, path)) = left.pop() {
            for name in self.names(directory, &path)? {
                let node = self.tree.node(name.id);
                if !node.kind.is_directory() {
                    continue;
                }
                let meta = self.meta(node.metadata, &name.path)?;
                let made = self.builder.mkdir(name.parent, name.text, meta);
                let handle = made.map_err(|error| self.unusable(&name.path, &error))?;
                self.set_xattrs(handle, node, &name.path)?;
                self.handles.insert(name.id, handle);
                left.push((name.id, name.path));
            }
        }
        Ok(())
    }

    /// Declares everything else, files in the order of their bytes.
    fn add_files(&mut self) -> Result<(), RootfsError> {
        let mut names = Vec::new();
        let mut left = vec![(ROOT, String::new())];
        while let Some((directory, path)) = left.pop() {
            for name in self.names(directory, &path)? {
                if self.tree.node(name.id).kind.is_directory() {
                    left.push((name.id, name.path));
                } else {
                    names.push(name);
                }
            }
        }
        names.sort_by_cached_key(|name| (position(self.tree.node(name.id)), name.path.clone()));
        names.iter().try_for_each(|name| self.add_file(name))
    }

    fn add_file(&mut self, name: &Name<'_>) -> Result<(), RootfsError> {
        if let Some(handle) = self.handles.get(&name.id) {
            let linked = self.builder.hardlink(name.parent, name.text, *handle);
            return linked.map_err(|error| self.unusable(&name.path, &error));
        }
        let node = self.tree.node(name.id);
        let handle = self.declare(name, node)?;
        self.set_xattrs(handle, node, &name.path)?;
        self.handles.insert(name.id, handle);
        Ok(())
    }

    fn declare(&mut self, name: &Name<'_>, node: &Node) -> Result<InodeHandle, RootfsError> {
        let meta = self.meta(node.metadata, &name.path)?;
        let special = |kind| (name.parent, name.text, meta, kind);
        let (parent, text, meta, kind) = match &node.kind {
            NodeKind::File { layer, content } => {
                return self.declare_file(name, meta, *layer, content);
            }
            NodeKind::Symlink(target) => return self.declare_symlink(name, meta, target),
            NodeKind::CharDevice { major, minor } => special(SpecialKind::Char {
                major: *major,
                minor: *minor,
            }),
            NodeKind::BlockDevice { major, minor } => special(SpecialKind::Block {
                major: *major,
                minor: *minor,
            }),
            NodeKind::Fifo => special(SpecialKind::Fifo),
            NodeKind::Directory(_) => return Err(self.unusable(&name.path, &"it is a directory")),
        };
        let made = self.builder.mknod(parent, text, meta, kind);
        made.map_err(|error| self.unusable(&name.path, &error))
    }

    fn declare_symlink(
        &mut self,
        name: &Name<'_>,
        meta: Meta,
        target: &[u8],
    ) -> Result<InodeHandle, RootfsError> {
        let target = std::str::from_utf8(target)
            .map_err(|_| self.unusable(&name.path, &"its link target is not UTF-8"))?;
        let made = self.builder.symlink(name.parent, name.text, target, meta);
        made.map_err(|error| self.unusable(&name.path, &error))
    }

    fn declare_file(
        &mut self,
        name: &Name<'_>,
        meta: Meta,
        layer: usize,
        content: &Content,
    ) -> Result<InodeHandle, RootfsError> {
        let blocks = content
            .runs
            .as_ref()
            .map(|runs| block_runs(runs, content.size, BLOCK));
        let made = match &blocks {
            Some(blocks) if content.size != 0 => self.builder.file_sparse(
                name.parent,
                name.text,
                meta,
                &segments(blocks, content.size),
            ),
            _ => self
                .builder
                .file(name.parent, name.text, meta, content.size),
        };
        let handle = made.map_err(|error| self.unusable(&name.path, &error))?;
        if content.stored != 0 {
            self.pending.push(Pending {
                handle,
                layer,
                content: content.clone(),
                blocks,
            });
        }
        Ok(handle)
    }

    /// The names in a directory that has a handle.
    fn names(&self, directory: NodeId, path: &str) -> Result<Vec<Name<'a>>, RootfsError> {
        let parent = self.handles.get(&directory).copied().unwrap_or(EXT4_ROOT);
        let children = self.tree.children(directory).into_iter().flatten();
        let name = |(name, id): (&'a Component, &NodeId)| {
            let path = format!("{path}/{}", name.escape_ascii());
            match std::str::from_utf8(name) {
                Ok(text) => Ok(Name {
                    parent,
                    text,
                    id: *id,
                    path,
                }),
                Err(_) => Err(self.unusable(&path, &"its name is not UTF-8")),
            }
        };
        children.map(name).collect()
    }

    fn meta(&self, metadata: Metadata, path: &str) -> Result<Meta, RootfsError> {
        let mtime = (metadata.mtime.seconds, metadata.mtime.nanoseconds);
        if !TIMES.contains(&mtime.0) {
            return Err(self.unusable(path, &"its time is outside 1901 to 2446"));
        }
        Ok(Meta::new(metadata.mode, metadata.uid, metadata.gid, mtime))
    }

    fn set_xattrs(
        &mut self,
        handle: InodeHandle,
        node: &Node,
        path: &str,
    ) -> Result<(), RootfsError> {
        for (name, value) in &node.xattrs {
            let problem = |what: &str| {
                self.unusable(path, &format!("attribute {} {what}", name.escape_ascii()))
            };
            let text =
                std::str::from_utf8(name).map_err(|_| problem("has a name that is not UTF-8"))?;
            let value =
                acl::disk_value(name, value).ok_or_else(|| problem("is not a valid ACL"))?;
            let set = self.builder.set_xattr(handle, text, &value);
            set.map_err(|error| self.unusable(path, &error))?;
        }
        Ok(())
    }

    /// The tree does not say which layer a name came from: the topmost stands
    /// for all.
    fn unusable(&self, path: &str, problem: &impl ToString) -> RootfsError {
        let layer = self
            .request
            .layers
            .last()
            .map(|layer| layer.descriptor.digest);
        RootfsError::UnusableEntry {
            layer: layer.unwrap_or_else(|| identity(self.request)),
            path: path.to_owned(),
            problem: problem.to_string(),
        }
    }
}

/// Where a file's bytes are; things without bytes come first.
fn position(node: &Node) -> (usize, u64) {
    match &node.kind {
        NodeKind::File { layer, content } if content.stored != 0 => (layer + 1, content.offset),
        _ => (0, 0),
    }
}

/// Blocks and the holes between them, up to the file's end.
fn segments(blocks: &[DataRun], size: u64) -> Vec<SparseSeg> {
    let mut segments = Vec::new();
    let mut position = 0;
    for block in blocks {
        if position < block.offset {
            segments.push(SparseSeg::Hole(block.offset - position));
        }
        segments.push(SparseSeg::Data(block.length));
        position = block.offset + block.length;
    }
    if position < size {
        segments.push(SparseSeg::Hole(size - position));
    }
    segments
}
