//! The resize inode: blocks kept behind every superblock for descriptors of
//! groups to come, as the blocks of a file (e2fsprogs, `resize_inode`).
//!
//! Its doubly indirect block lists the kept blocks behind the first
//! superblock; each of those lists its likes behind the other superblocks.

use super::{
    BLOCK, Options,
    extents::ROOT_SIZE,
    fields::{Fields as _, low_u32},
    geometry::{GROUP_BLOCKS, has_superblock},
    inode::{Area, REGULAR, RESIZE, Record},
};

/// Block numbers in a block, and in an inode before the indirect ones.
const NUMBERS: u64 = 1024;
const DIRECT: u64 = 12;
/// Where an inode has the number of its doubly indirect block.
const DOUBLY_INDIRECT_AT: usize = 13 * 4;

/// What is kept for growth.
pub(super) struct Reserve {
    /// Number of groups.
    pub(super) groups: u64,
    /// Blocks that the descriptors take now.
    pub(super) descriptor_blocks: u64,
    /// Blocks kept behind them.
    pub(super) kept: u64,
    /// The doubly indirect block.
    pub(super) doubly_indirect: u64,
}

impl Reserve {
    /// The first kept block of a group with a superblock.
    const fn first_in(&self, group: u64) -> u64 {
        group * GROUP_BLOCKS + 1 + self.descriptor_blocks
    }

    fn copies(&self) -> impl Iterator<Item = u64> {
        (1..self.groups).filter(|group| has_superblock(*group))
    }

    /// Each block with its number: the doubly indirect one, then the kept ones.
    pub(super) fn blocks(&self) -> impl Iterator<Item = (u64, Vec<u8>)> {
        let kept = (0..self.kept).map(|index| {
            let copies = self.copies().map(|group| self.first_in(group) + index);
            (self.first_in(0) + index, numbers(copies.zip(0..)))
        });
        let list = (0..self.kept).map(|index| {
            let place = (self.descriptor_blocks + index) % NUMBERS;
            (self.first_in(0) + index, place)
        });
        std::iter::once((self.doubly_indirect, numbers(list))).chain(kept)
    }

    pub(super) fn inode(&self, options: &Options) -> Record<'static> {
        let mut area = [0; ROOT_SIZE];
        area.put_u32(DOUBLY_INDIRECT_AT, low_u32(self.doubly_indirect));
        let copies = self.copies().count() as u64;
        Record {
            size: (NUMBERS * NUMBERS + NUMBERS + DIRECT) * super::BLOCK_SIZE,
            blocks: 1 + self.kept * (1 + copies),
            area: Area::Other(area),
            ..Record::own(RESIZE, REGULAR, 0o600, options.created)
        }
    }
}

/// A block of block numbers, each at its place.
fn numbers(numbers: impl Iterator<Item = (u64, u64)>) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    for (number, place) in numbers {
        let at = usize::try_from(place).unwrap_or(0) * 4;
        block.put_u32(at, low_u32(number));
    }
    block
}
