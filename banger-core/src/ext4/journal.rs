//! The journal: empty, and all holes but its superblock (kernel,
//! `journal.rst`).

use super::BLOCK;

/// File systems with fewer blocks have none, as mke2fs has it.
pub(super) const LEAST_BLOCKS: u64 = 2048;

/// Sizes of journals in blocks, by the blocks from which on mke2fs uses them.
const SIZES: [(u64, u64); 8] = [
    (33_554_432, 262_144),
    (16_777_216, 131_072),
    (8_388_608, 65_536),
    (4_194_304, 32_768),
    (524_288, 16_384),
    (262_144, 8192),
    (32_768, 4096),
    (0, 1024),
];

/// The usual size of the journal of a file system, then the smaller ones.
pub(super) fn journal_sizes(blocks: u64) -> impl Iterator<Item = u64> {
    let fitting = SIZES.iter().filter(move |(from, _)| *from <= blocks);
    fitting.map(|(_, journal)| *journal)
}

const MAGIC: u32 = 0xc03b_3998;
/// A superblock of the second version.
const SUPERBLOCK_2: u32 = 4;

/// The journal's superblock. Its numbers are big-endian.
pub(super) fn superblock(blocks: u32) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    // first block of the log, first sequence number; a start of 0 is an empty log
    let (first, sequence, users) = (1, 1, 1);
    let fields = [
        (0x00, MAGIC),
        (0x04, SUPERBLOCK_2),
        (0x0c, 4096),
        (0x10, blocks),
        (0x14, first),
        (0x18, sequence),
        (0x40, users),
    ];
    for (at, value) in fields {
        block[at..at + 4].copy_from_slice(&u32::to_be_bytes(value));
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_mke2fs() {
        let usual = |mebibytes: u64| journal_sizes(mebibytes * 256).next();
        assert_eq!(usual(64), Some(1024));
        assert_eq!(usual(128), Some(4096));
        assert_eq!(usual(1024), Some(8192));
        assert_eq!(usual(2048), Some(16_384));
        assert_eq!(usual(16 * 1024), Some(32_768));
        assert_eq!(usual(1024 * 1024), Some(262_144));
    }
}
