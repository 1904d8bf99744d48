//! Where a file system of a given size has its tables.

use super::{
    Allocator, Run, extents,
    geometry::{GROUP_BLOCKS, group_count, has_superblock},
    journal::journal_sizes,
};

/// Inodes that a block of the table holds.
const INODES_PER_BLOCK: u64 = 16;
/// Most inodes of a group: as many as a bitmap block has bits.
const GROUP_INODES: u64 = 32_768;
/// Bytes of disk for which there is an inode, as mke2fs has it by default.
const BYTES_PER_INODE: u64 = 16_384;
/// Inodes beyond what is used and a quarter more.
const SPARE_INODES: u64 = 4096;

/// What has to be laid out, whatever the size.
#[derive(Clone, Debug)]
pub(super) struct Demand {
    /// Knows the blocks that are taken already.
    pub(super) allocator: Allocator,
    /// Inodes in use.
    pub(super) inodes: u64,
    /// Whether there is to be a journal.
    pub(super) journal: bool,
}

/// The places of bitmaps, tables and journal.
#[derive(Debug)]
pub(super) struct Layout {
    /// Blocks of the file system.
    pub(super) blocks: u64,
    pub(super) inodes_per_group: u64,
    /// A block for each group.
    pub(super) block_bitmaps: Vec<u64>,
    /// A block for each group.
    pub(super) inode_bitmaps: Vec<u64>,
    /// The first block of each group's table.
    pub(super) tables: Vec<u64>,
    pub(super) journal: Vec<Run>,
    /// A block for the journal's extent tree, used if it needs one.
    pub(super) journal_tree: Option<u64>,
    /// Knows all blocks that are taken.
    pub(super) allocator: Allocator,
}

impl Layout {
    pub(super) const fn groups(&self) -> usize {
        self.tables.len()
    }
}

impl Demand {
    /// The fewest blocks that hold everything.
    pub(super) fn smallest(&self) -> u64 {
        let mut blocks = self.allocator.used_end();
        let fewest_journal = journal_sizes(u64::MAX).last().unwrap_or(0);
        let journal = if self.journal { fewest_journal } else { 0 };
        if self.journal {
            blocks = blocks.max(super::journal::LEAST_BLOCKS);
        }
        loop {
            let usable = self.usable(blocks);
            let needed = self.try_place(usable, journal).allocator.used_end();
            if needed <= usable {
                return usable;
            }
            blocks = blocks.max(needed).max(blocks + 1);
        }
    }

    /// Lays everything out in at most `blocks` blocks, which are no fewer than
    /// [`Self::smallest`], with the largest usual journal that fits.
    pub(super) fn place(&self, blocks: u64) -> Layout {
        let whole_groups = blocks / GROUP_BLOCKS * GROUP_BLOCKS;
        let smallest = self.smallest();
        for candidate in [blocks, whole_groups, smallest] {
            let usable = self.usable(candidate.max(smallest));
            let journals = journal_sizes(usable).filter(|_| self.journal);
            for journal in journals.chain((!self.journal).then_some(0)) {
                let layout = self.try_place(usable, journal);
                if layout.allocator.used_end() <= usable {
                    return layout;
                }
            }
        }
        let journal = if self.journal {
            journal_sizes(0).last()
        } else {
            None
        };
        self.try_place(smallest, journal.unwrap_or(0))
    }

    /// A last group that cannot hold more than its superblock is left out.
    fn usable(&self, blocks: u64) -> u64 {
        let last = group_count(blocks).saturating_sub(1);
        let within = blocks - last * GROUP_BLOCKS;
        if last != 0 && has_superblock(last) && within <= self.allocator.kept_of(last) {
            last * GROUP_BLOCKS
        } else {
            blocks
        }
    }

    fn inodes_per_group(&self, blocks: u64) -> u64 {
        let groups = group_count(blocks);
        let wanted = self.inodes + self.inodes / 4 + SPARE_INODES;
        let usual = blocks * super::BLOCK_SIZE / BYTES_PER_INODE;
        let wanted = wanted.max(usual).div_ceil(groups);
        wanted.next_multiple_of(INODES_PER_BLOCK).min(GROUP_INODES)
    }

    /// Lays everything out as if there were room.
    fn try_place(&self, blocks: u64, journal: u64) -> Layout {
        let groups = group_count(blocks);
        let mut inodes_per_group = self.inodes_per_group(blocks);
        let mut allocator = self.allocator.clone();
        let mut each = |length: u64| -> Vec<u64> {
            let one = |_| allocator.next_whole_run(length).start;
            (0..groups).map(one).collect()
        };
        let (block_bitmaps, inode_bitmaps) = (each(1), each(1));
        let tables = each(inodes_per_group / INODES_PER_BLOCK);
        let journal_runs = runs(&mut allocator, journal);
        let tree_blocks = extents::block_count(&extents::of_runs(&journal_runs));
        let journal_tree = (tree_blocks != 0).then(|| allocator.next_run(1).start);
        if inodes_per_group * groups < self.inodes {
            // too few groups for so many inodes: nothing of this size fits
            inodes_per_group = 0;
            allocator.next_run(GROUP_BLOCKS);
            while allocator.used_end() <= blocks {
                allocator.next_run(GROUP_BLOCKS);
            }
        }
        Layout {
            blocks,
            inodes_per_group,
            block_bitmaps,
            inode_bitmaps,
            tables,
            journal: journal_runs,
            journal_tree,
            allocator,
        }
    }
}

/// So many blocks, in as few runs as possible.
pub(super) fn runs(allocator: &mut Allocator, blocks: u64) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut left = blocks;
    while left != 0 {
        let run = allocator.next_run(left);
        left -= run.length;
        match runs.last_mut() {
            Some(last) if last.end() == run.start => last.length += run.length,
            _ => runs.push(run),
        }
    }
    runs
}
