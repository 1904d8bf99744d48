//! Extent trees (kernel, `ifork.rst`, "Extent Tree").

use super::{
    BLOCK, BLOCK_SIZE, Extent, InodeProblem, Run,
    checksum::Checksum,
    fields::{Fields as _, low_u16, low_u32},
};

const MAGIC: u16 = 0xf30a;
const HEADER: usize = 12;
const RECORD: usize = 12;
/// Records in an inode's 60 bytes, and in a block with its checksum.
const INODE_RECORDS: usize = 4;
const BLOCK_RECORDS: usize = (BLOCK - HEADER - 4) / RECORD;
const CHECKSUM_AT: usize = HEADER + BLOCK_RECORDS * RECORD;
/// Longest initialised extent, in blocks.
const LONGEST: u32 = 32_768;
/// Deepest tree that can be needed: five levels of 340 number all 2^32 blocks.
const DEEPEST: u16 = 5;

/// Bytes of an inode that hold the root of its extent tree.
pub(super) const ROOT_SIZE: usize = 60;

/// An extent or a pointer to a block of them, and the first block of the file
/// it is about.
type Record = [u8; RECORD];

/// Checks that extents ascend, do not overlap, and end with the file.
pub(super) fn check(extents: &[Extent], size: u64) -> Result<(), InodeProblem> {
    let mut end = 0;
    let blocks = size.div_ceil(BLOCK_SIZE);
    for extent in extents {
        let start = u64::from(extent.logical);
        let after = start + u64::from(extent.length);
        if start < end || extent.length == 0 || blocks < after {
            return Err(InodeProblem::Extents);
        }
        end = after;
    }
    if u64::from(u32::MAX) < blocks {
        return Err(InodeProblem::Extents);
    }
    Ok(())
}

/// Blocks the tree takes beside the inode.
pub(super) fn block_count(extents: &[Extent]) -> u64 {
    let pieces = extents
        .iter()
        .map(|extent| extent.length.div_ceil(LONGEST) as usize);
    let mut records: usize = pieces.sum();
    let mut blocks = 0;
    while INODE_RECORDS < records {
        records = records.div_ceil(BLOCK_RECORDS);
        blocks += records;
    }
    blocks as u64
}

/// A block of an extent tree, and where it goes.
pub(super) struct TreeBlock {
    pub(super) block: u64,
    pub(super) bytes: Vec<u8>,
}

/// Builds the tree; `blocks` are exactly as many as [`block_count`] said.
pub(super) fn build(
    extents: &[Extent],
    blocks: impl Iterator<Item = u64>,
    checksum: Checksum,
) -> ([u8; ROOT_SIZE], Vec<TreeBlock>) {
    let mut records: Vec<Record> = extents.iter().flat_map(pieces).map(leaf_record).collect();
    let mut blocks = blocks;
    let mut written = Vec::new();
    let mut depth = 0;
    while INODE_RECORDS < records.len() && depth < DEEPEST {
        let parts = records.chunks(BLOCK_RECORDS).zip(&mut blocks);
        let parts = parts.map(|(part, block)| {
            written.push(TreeBlock {
                block,
                bytes: tree_block(part, depth, checksum),
            });
            index_record(part[0], block)
        });
        records = parts.collect();
        depth += 1;
    }
    let mut root = [0; ROOT_SIZE];
    put_records(&mut root, INODE_RECORDS, depth, &records);
    (root, written)
}

/// The extents of blocks that lie one after the other in a file.
pub(super) fn of_runs(runs: &[Run]) -> Vec<Extent> {
    let mut logical = 0;
    let extent = |run: &Run| {
        let length = low_u32(run.length);
        let extent = Extent {
            logical,
            length,
            start: run.start,
        };
        logical += length;
        extent
    };
    runs.iter().map(extent).collect()
}

/// An extent in parts that are not too long.
fn pieces(extent: &Extent) -> impl Iterator<Item = Extent> + use<> {
    let extent = *extent;
    let starts = (0..extent.length).step_by(LONGEST as usize);
    starts.map(move |done| Extent {
        logical: extent.logical + done,
        length: (extent.length - done).min(LONGEST),
        start: extent.start + u64::from(done),
    })
}

fn leaf_record(extent: Extent) -> Record {
    let mut record = [0; RECORD];
    record.put_u32(0, extent.logical);
    record.put_u16(4, low_u16(extent.length));
    record.put_split_u48(8, 6, extent.start);
    record
}

fn index_record(first: Record, block: u64) -> Record {
    let mut record = [0; RECORD];
    record.put_bytes(0, &first[..4]);
    record.put_split_u48(4, 8, block);
    record
}

fn tree_block(records: &[Record], depth: u16, checksum: Checksum) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    put_records(&mut block, BLOCK_RECORDS, depth, records);
    checksum.seal(&mut block, CHECKSUM_AT);
    block
}

fn put_records(target: &mut [u8], room: usize, depth: u16, records: &[Record]) {
    target.put_u16(0, MAGIC);
    target.put_u16(2, low_u16(low_u32(records.len() as u64)));
    target.put_u16(4, low_u16(low_u32(room as u64)));
    target.put_u16(6, depth);
    for (index, record) in records.iter().enumerate() {
        target.put_bytes(HEADER + index * RECORD, record);
    }
}
