//! Group descriptors and bitmaps (kernel, `group_descr.rst`, `bitmaps.rst`).

use std::io;

use super::{
    BLOCK, BLOCK_SIZE, Disk,
    block_map::{BlockMap, set},
    checksum::Checksum,
    fields::{Fields as _, low_u32},
    geometry::DESCRIPTOR_SIZE,
    layout::Layout,
    sequential::Sequential,
};

const INODES_UNINITIALISED: u16 = 1;
const BLOCKS_UNINITIALISED: u16 = 2;
const TABLE_ZEROED: u16 = 4;

const SIZE: usize = 64;
const CHECKSUM_AT: usize = 0x1e;

const _: () = assert!(SIZE as u64 == DESCRIPTOR_SIZE);

/// All groups: their descriptors, and what is free in them together.
pub(super) struct Groups {
    pub(super) descriptors: Vec<u8>,
    pub(super) free_blocks: u64,
}

/// What groups are described by.
pub(super) struct GroupWriter<'a, 'd, D: ?Sized> {
    pub(super) layout: &'a Layout,
    pub(super) map: &'a BlockMap,
    /// Inodes in use, counted from the first.
    pub(super) inodes: u64,
    /// Directories by group.
    pub(super) directories: &'a [u32],
    pub(super) checksum: Checksum,
    pub(super) disk: &'a mut Sequential<'d, D>,
}

/// A bitmap as its descriptor tells of it.
struct Bitmap {
    free: u64,
    checksum: u32,
    flag: u16,
}

impl<D: Disk + ?Sized> GroupWriter<'_, '_, D> {
    /// Writes the bitmaps and makes the descriptors.
    pub(super) fn write(mut self) -> io::Result<Groups> {
        let mut groups = Groups {
            descriptors: Vec::with_capacity(self.layout.groups() * SIZE),
            free_blocks: 0,
        };
        let blocks = self.block_bitmaps()?;
        let inodes = self.inode_bitmaps()?;
        for (group, (blocks, inodes)) in blocks.iter().zip(&inodes).enumerate() {
            groups.free_blocks += blocks.free;
            let descriptor = self.descriptor(group, blocks, inodes);
            groups.descriptors.extend_from_slice(&descriptor);
        }
        Ok(groups)
    }

    fn block_bitmaps(&mut self) -> io::Result<Vec<Bitmap>> {
        let groups = 0..self.layout.groups();
        groups.map(|group| self.block_bitmap(group)).collect()
    }

    fn block_bitmap(&mut self, group: usize) -> io::Result<Bitmap> {
        let number = group as u64;
        if self.map.is_untouched(number) {
            return Ok(Bitmap {
                free: self.map.untouched_free(number),
                checksum: 0,
                flag: BLOCKS_UNINITIALISED,
            });
        }
        let blocks = self.map.group(number);
        let place = self.layout.block_bitmaps[group] * BLOCK_SIZE;
        self.disk.put(place, &blocks.bitmap)?;
        Ok(Bitmap {
            free: blocks.free,
            checksum: self.checksum.add(&blocks.bitmap).get(),
            flag: 0,
        })
    }

    fn inode_bitmaps(&mut self) -> io::Result<Vec<Bitmap>> {
        let groups = 0..self.layout.groups();
        groups.map(|group| self.inode_bitmap(group)).collect()
    }

    fn inode_bitmap(&mut self, group: usize) -> io::Result<Bitmap> {
        let per_group = self.layout.inodes_per_group;
        let used = self.inodes.saturating_sub(group as u64 * per_group);
        let used = used.min(per_group);
        if used == 0 {
            return Ok(Bitmap {
                free: per_group,
                checksum: 0,
                flag: INODES_UNINITIALISED,
            });
        }
        let mut bitmap = vec![0; BLOCK];
        set(&mut bitmap, 0, used, true);
        set(&mut bitmap, per_group, BLOCK as u64 * 8, true);
        let place = self.layout.inode_bitmaps[group] * BLOCK_SIZE;
        self.disk.put(place, &bitmap)?;
        let bytes = usize::try_from(per_group / 8).unwrap_or(BLOCK);
        Ok(Bitmap {
            free: per_group - used,
            checksum: self.checksum.add(&bitmap[..bytes]).get(),
            flag: 0,
        })
    }

    fn descriptor(&self, group: usize, blocks: &Bitmap, inodes: &Bitmap) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        bytes.put_split_u64(0x00, 0x20, self.layout.block_bitmaps[group]);
        bytes.put_split_u64(0x04, 0x24, self.layout.inode_bitmaps[group]);
        bytes.put_split_u64(0x08, 0x28, self.layout.tables[group]);
        bytes.put_split_u32(0x0c, 0x2c, low_u32(blocks.free));
        bytes.put_split_u32(0x0e, 0x2e, low_u32(inodes.free));
        bytes.put_split_u32(0x10, 0x30, self.directories[group]);
        bytes.put_u16(0x12, TABLE_ZEROED | blocks.flag | inodes.flag);
        bytes.put_split_u32(0x18, 0x38, blocks.checksum);
        bytes.put_split_u32(0x1a, 0x3a, inodes.checksum);
        // inodes are used from the first on, so those free are the table's end
        bytes.put_split_u32(0x1c, 0x32, low_u32(inodes.free));
        let number = low_u32(group as u64).to_le_bytes();
        let sum = self.checksum.add(&number).add(&bytes).low();
        bytes.put_u16(CHECKSUM_AT, sum);
        bytes
    }
}
