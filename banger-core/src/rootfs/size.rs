//! How large a disk must be and shall be.

use super::tree::{NodeKind, ROOT, Tree};
use crate::domain::Bytes;

pub(super) const BLOCK: u64 = 4096;
const BLOCKS_PER_GROUP: u64 = 32_768;
const INODE_SIZE: u64 = 256;
/// The smallest disk that has room for a journal.
const SMALLEST: u64 = 2048 * BLOCK;
const DEFAULT_SMALLEST: u64 = Bytes::GIB;

/// What a tree takes on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Census {
    /// Bytes of file content.
    pub(super) content: u64,
    /// Inodes with a name.
    pub(super) inodes: u64,
    /// Blocks of files, directories, long links and attributes, at most.
    blocks: u64,
}

impl Census {
    pub(super) fn of(tree: &Tree) -> Self {
        let mut census = Self::default();
        let mut seen = vec![false; tree.inode_count()];
        let mut directories = vec![ROOT];
        census.count(tree, ROOT);
        while let Some(directory) = directories.pop() {
            for id in tree
                .children(directory)
                .into_iter()
                .flat_map(|children| children.values())
            {
                if std::mem::replace(&mut seen[id.index()], true) {
                    continue;
                }
                census.count(tree, *id);
                if tree.node(*id).kind.is_directory() {
                    directories.push(*id);
                }
            }
        }
        census
    }

    fn count(&mut self, tree: &Tree, id: super::tree::NodeId) {
        let node = tree.node(id);
        self.inodes += 1;
        self.blocks += u64::from(!node.xattrs.is_empty());
        match &node.kind {
            NodeKind::Directory(children) => self.blocks += directory_blocks(children.keys()),
            NodeKind::File { content, .. } => {
                self.content += content.stored;
                let runs = content.runs.as_ref().map_or(1, Vec::len) as u64;
                self.blocks += content.stored.div_ceil(BLOCK) + extent_blocks(content.stored, runs);
            }
            NodeKind::Symlink(target) => self.blocks += u64::from(59 < target.len()),
            _ => {}
        }
    }

    /// The size of inode table that leaves room to grow.
    pub(super) fn inode_table(&self) -> u64 {
        self.inodes + self.inodes / 4 + 4096
    }

    /// The smallest size that surely holds the tree.
    pub(super) fn smallest(&self) -> Bytes {
        let mut size = SMALLEST;
        // metadata grows with the disk, much slower than the disk
        loop {
            let needed = (self.blocks + self.overhead(size)) * BLOCK;
            if needed <= size {
                return Bytes::new(size);
            }
            size = needed.next_multiple_of(Bytes::MIB);
        }
    }

    /// Blocks of a disk of that size which can never hold content.
    fn overhead(&self, size: u64) -> u64 {
        let blocks = size / BLOCK;
        let groups = blocks.div_ceil(BLOCKS_PER_GROUP);
        let descriptors = (groups * 32).div_ceil(BLOCK);
        let inodes_per_group = self.inode_table().div_ceil(groups).next_multiple_of(16);
        let tables = groups * (inodes_per_group * INODE_SIZE / BLOCK);
        groups * (3 + descriptors) + tables + journal_blocks(blocks) + 64
    }

    /// max(content x 1.25, 1 GiB), and never less than what is needed.
    pub(super) fn default_size(&self) -> Bytes {
        let roomy = (self.content + self.content / 4).max(DEFAULT_SMALLEST);
        // a disk that is exactly full serves nobody: leave a tenth
        let needed = self.smallest().get();
        Bytes::new(roomy.max(needed + needed / 10)).round_up_to(Bytes::MIB)
    }
}

/// Blocks of a file's extent tree, and of the blocks that its runs share with
/// holes. Four extents fit the inode; a block holds 340; block groups part
/// long runs.
fn extent_blocks(stored: u64, runs: u64) -> u64 {
    let extents = runs + stored / (64 << 20);
    if extents <= 4 {
        runs.saturating_sub(1)
    } else {
        runs + 2 + extents / 340
    }
}

/// Blocks of a directory: entries do not cross blocks, an index may leave
/// blocks half full.
fn directory_blocks<'a>(names: impl Iterator<Item = &'a Box<[u8]>>) -> u64 {
    let bytes: u64 = names
        .map(|name| (name.len() as u64 + 8).next_multiple_of(4))
        .sum();
    1 + (2 * bytes) / BLOCK + u64::from(BLOCK / 2 < bytes) * 2
}

/// mke2fs's journal sizes, which the writer uses too.
fn journal_blocks(blocks: u64) -> u64 {
    match blocks {
        0..32_768 => 1024,
        32_768..262_144 => 4096,
        262_144..524_288 => 8192,
        524_288..4_194_304 => 16_384,
        4_194_304..8_388_608 => 32_768,
        8_388_608..16_777_216 => 65_536,
        16_777_216..33_554_432 => 131_072,
        _ => 262_144,
    }
}
