//! The superblock (kernel, `super.rst`).

use super::{
    Options,
    checksum::Checksum,
    fields::{Fields as _, low_u16, low_u32},
    geometry::{DESCRIPTOR_SIZE, GROUP_BLOCKS},
    hash::{HALF_MD4, SIGNED_HASH},
    inode::{FIRST_INODE, INODE_SIZE, JOURNAL},
};

/// Bytes of a superblock, and where the first one begins.
pub(super) const SUPERBLOCK_SIZE: usize = 1024;
const CHECKSUM_AT: usize = 0x3fc;

const MAGIC: u16 = 0xef53;
const CLEAN: u16 = 1;
const ERRORS_CONTINUE: u16 = 1;
const DYNAMIC_REVISION: u32 = 1;
const LOG_BLOCK_SIZE: u32 = 2;
/// Extended attributes and ACLs are on when mounted.
const MOUNT_OPTIONS: u32 = 0x4 | 0x8;
/// The journal's blocks are noted in the superblock too.
const JOURNAL_BACKED_UP: u8 = 1;
const CRC32C: u8 = 1;
/// 16 groups are packed together when the file system grows.
const LOG_GROUPS_PER_FLEX: u8 = 4;
const EXTRA_INODE_SIZE: u16 = 32;

const HAS_JOURNAL: u32 = 0x4;
/// ext_attr, resize_inode, dir_index.
const COMPATIBLE: u32 = 0x8 | 0x10 | 0x20;
/// filetype, extents, 64bit, flex_bg.
const INCOMPATIBLE: u32 = 0x2 | 0x40 | 0x80 | 0x200;
/// sparse_super, large_file, huge_file, dir_nlink, extra_isize, metadata_csum.
const READ_ONLY_COMPATIBLE: u32 = 0x1 | 0x2 | 0x8 | 0x20 | 0x40 | 0x400;

/// What differs from file system to file system.
pub(super) struct Superblock<'a> {
    pub(super) options: &'a Options,
    pub(super) blocks: u64,
    pub(super) free_blocks: u64,
    pub(super) inodes: u32,
    pub(super) free_inodes: u32,
    pub(super) inodes_per_group: u32,
    /// Descriptor blocks kept for growth.
    pub(super) kept_descriptor_blocks: u32,
    /// The journal's inode: its block area and its size.
    pub(super) journal: Option<([u8; 60], u64)>,
}

impl Superblock<'_> {
    /// The copy that lies in `group`.
    pub(super) fn encode(&self, group: u16) -> [u8; SUPERBLOCK_SIZE] {
        let mut bytes = [0; SUPERBLOCK_SIZE];
        self.put_counts(&mut bytes);
        self.put_times(&mut bytes);
        bytes.put_u16(0x36, u16::MAX);
        bytes.put_u16(0x38, MAGIC);
        bytes.put_u16(0x3a, CLEAN);
        bytes.put_u16(0x3c, ERRORS_CONTINUE);
        bytes.put_u32(0x4c, DYNAMIC_REVISION);
        bytes.put_u32(0x54, FIRST_INODE);
        bytes.put_u16(0x58, low_u16(low_u32(INODE_SIZE as u64)));
        bytes.put_u16(0x5a, group);
        bytes.put_bytes(0x68, &self.options.uuid);
        bytes.put_bytes(0xec, &self.options.hash_seed);
        bytes[0xfc] = HALF_MD4;
        bytes.put_u16(0xfe, low_u16(low_u32(DESCRIPTOR_SIZE)));
        bytes.put_u32(0x100, MOUNT_OPTIONS);
        bytes.put_u16(0x15c, EXTRA_INODE_SIZE);
        bytes.put_u16(0x15e, EXTRA_INODE_SIZE);
        bytes.put_u32(0x160, SIGNED_HASH);
        bytes[0x174] = LOG_GROUPS_PER_FLEX;
        bytes[0x175] = CRC32C;
        self.put_features(&mut bytes);
        Checksum::bare().seal(&mut bytes, CHECKSUM_AT);
        bytes
    }

    fn put_counts(&self, bytes: &mut [u8]) {
        bytes.put_u32(0x00, self.inodes);
        bytes.put_split_u64(0x04, 0x150, self.blocks);
        bytes.put_split_u64(0x0c, 0x158, self.free_blocks);
        bytes.put_u32(0x10, self.free_inodes);
        bytes.put_u32(0x18, LOG_BLOCK_SIZE);
        bytes.put_u32(0x1c, LOG_BLOCK_SIZE);
        bytes.put_u32(0x20, low_u32(GROUP_BLOCKS));
        bytes.put_u32(0x24, low_u32(GROUP_BLOCKS));
        bytes.put_u32(0x28, self.inodes_per_group);
        bytes.put_u16(0xce, low_u16(self.kept_descriptor_blocks));
    }

    /// When it was written, checked and made. The bits above 32 have bytes of
    /// their own.
    fn put_times(&self, bytes: &mut [u8]) {
        let seconds = u64::try_from(self.options.created.seconds).unwrap_or(0);
        for (low, high) in [(0x30, 0x274), (0x40, 0x277), (0x108, 0x276)] {
            bytes.put_u32(low, low_u32(seconds));
            bytes[high] = seconds.to_le_bytes()[4];
        }
    }

    fn put_features(&self, bytes: &mut [u8]) {
        let journal = if self.journal.is_some() {
            HAS_JOURNAL
        } else {
            0
        };
        bytes.put_u32(0x5c, COMPATIBLE | journal);
        bytes.put_u32(0x60, INCOMPATIBLE);
        bytes.put_u32(0x64, READ_ONLY_COMPATIBLE);
        if let Some((area, size)) = &self.journal {
            bytes.put_u32(0xe0, JOURNAL);
            bytes[0xfd] = JOURNAL_BACKED_UP;
            bytes.put_bytes(0x10c, area);
            bytes.put_split_u64(0x14c, 0x148, *size);
        }
    }
}
