//! Block groups, and the places kept for copies of superblock and descriptors
//! (kernel, `blockgroup.rst`: `sparse_super`).

use super::{BLOCK_SIZE, Options};

/// Blocks of a group: as many as a bitmap block has bits.
pub(super) const GROUP_BLOCKS: u64 = 32_768;
/// Bytes of a group descriptor (`64bit`).
pub(super) const DESCRIPTOR_SIZE: u64 = 64;
/// Descriptor blocks that every file system keeps: enough for 1 TiB.
const LEAST_DESCRIPTOR_BLOCKS: u64 = 128;

/// Blocks of descriptors, present and to come, behind every superblock: a
/// quarter more than the largest size takes, so that it can grow beyond.
pub(super) fn descriptor_area(options: &Options) -> u64 {
    let needed = descriptor_blocks(group_count(options.largest / BLOCK_SIZE));
    (needed + needed.div_ceil(4)).max(LEAST_DESCRIPTOR_BLOCKS)
}

pub(super) const fn group_count(blocks: u64) -> u64 {
    blocks.div_ceil(GROUP_BLOCKS)
}

/// Blocks that the descriptors of so many groups take.
pub(super) const fn descriptor_blocks(groups: u64) -> u64 {
    (groups * DESCRIPTOR_SIZE).div_ceil(BLOCK_SIZE)
}

/// Whether a group begins with superblock and descriptors: 0, 1, and the
/// powers of 3, 5 and 7.
pub(super) fn has_superblock(group: u64) -> bool {
    group <= 1 || [3, 5, 7].iter().any(|base| is_power(group, *base))
}

fn is_power(mut number: u64, base: u64) -> bool {
    while number.is_multiple_of(base) {
        number /= base;
    }
    number == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn superblocks_are_sparse() {
        let groups: Vec<u64> = (0..130).filter(|group| has_superblock(*group)).collect();
        assert_eq!(groups, [0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125]);
    }
}
