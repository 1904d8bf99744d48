//! Which blocks hold a file's content: extent trees and, on older disks, maps
//! of block numbers (kernel, `ifork.rst`).

use super::{
    Inode, Volume,
    fields::{Fields as _, checksum},
    inode::EXTENTS,
};
use crate::disk::DiskError;

/// Most runs that a file may claim.
const MAX_RUNS: usize = 4_000_000;
/// Most blocks that may say where a file is: a tree that has more shares some.
const MAX_NODES: u32 = 200_000;

const MAGIC: u16 = 0xf30a;
const HEADER: usize = 12;
const RECORD: usize = 12;
/// Deepest extent tree.
const MAX_DEPTH: u16 = 5;
/// Longest extent whose blocks hold content; longer ones say so of blocks that
/// nothing was written to.
const LONGEST_WRITTEN: u16 = 32_768;

/// Block numbers in an inode: direct ones, then one for each level.
const DIRECT: usize = 12;
const LEVELS: u32 = 3;

/// Blocks of a file that lie one after the other. What lies between runs is a
/// hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// The first block within the file.
    pub(crate) logical: u64,
    /// The first block on the disk.
    pub(crate) start: u64,
    /// How many blocks.
    pub(crate) length: u64,
}

impl Run {
    pub(crate) const fn end(&self) -> u64 {
        self.logical + self.length
    }
}

impl Volume {
    /// The runs of a file, ascending; nothing behind its end.
    pub(crate) fn runs(&self, inode: &Inode) -> Result<Vec<Run>, DiskError> {
        let mut runs = Runs {
            volume: self,
            inode,
            blocks: inode.size.div_ceil(self.geometry.block_size),
            found: Vec::new(),
            end: 0,
            nodes: 0,
        };
        if inode.flags & EXTENTS == 0 {
            runs.map()?;
        } else {
            let depth = self.field(inode.area.u16_at(6))?;
            runs.node(&inode.area, depth)?;
        }
        Ok(runs.found)
    }
}

/// The runs found so far.
struct Runs<'a> {
    volume: &'a Volume,
    inode: &'a Inode,
    /// Blocks up to the file's end.
    blocks: u64,
    found: Vec<Run>,
    /// The first block that no extent told of, before the file's end or not.
    end: u64,
    /// Blocks that were read for it.
    nodes: u32,
}

impl Runs<'_> {
    /// Takes a run, joined to the last one where it goes on.
    fn push(&mut self, run: Run) -> Result<(), DiskError> {
        let within = run.start.checked_add(run.length);
        let within = within.is_some_and(|end| end <= self.volume.geometry.blocks);
        if run.logical < self.end || run.length == 0 || run.start == 0 || !within {
            return Err(self.damaged());
        }
        self.end = run.end();
        let length = self.end.min(self.blocks).saturating_sub(run.logical);
        if length == 0 {
            return Ok(());
        }
        match self.found.last_mut() {
            Some(last) if last.end() == run.logical && last.start + last.length == run.start => {
                last.length += length;
            }
            _ => self.found.push(Run { length, ..run }),
        }
        if MAX_RUNS < self.found.len() {
            return Err(self.too_much());
        }
        Ok(())
    }

    fn too_much(&self) -> DiskError {
        DiskError::TooMuch {
            disk: self.volume.path.clone(),
        }
    }

    /// Reads a block that says where others are.
    fn node_block(&mut self, number: u64) -> Result<Vec<u8>, DiskError> {
        self.nodes += 1;
        if MAX_NODES < self.nodes {
            return Err(self.too_much());
        }
        self.volume.block(number)
    }

    fn damaged(&self) -> DiskError {
        let number = self.inode.number;
        let problem = format!("inode {number} has a list of blocks that is not valid");
        self.volume.damaged(problem)
    }

    /// A node of an extent tree.
    fn node(&mut self, node: &[u8], depth: u16) -> Result<(), DiskError> {
        let count = self.header(node, depth)?;
        for index in 0..usize::from(count) {
            let start = HEADER + index * RECORD;
            let record = node.get(start..start + RECORD);
            let record = record.ok_or_else(|| self.damaged())?;
            if depth == 0 {
                self.extent(record)?;
            } else {
                self.child(record, depth)?;
            }
        }
        Ok(())
    }

    /// Checks a node's header and answers how many records follow.
    fn header(&self, node: &[u8], depth: u16) -> Result<u16, DiskError> {
        let valid = node.u16_at(0) == Some(MAGIC) && node.u16_at(6) == Some(depth);
        if valid && depth <= MAX_DEPTH {
            return self.volume.field(node.u16_at(2));
        }
        Err(self.damaged())
    }

    fn extent(&mut self, record: &[u8]) -> Result<(), DiskError> {
        let volume = self.volume;
        let logical = u64::from(volume.field(record.u32_at(0))?);
        let length = volume.field(record.u16_at(4))?;
        let high = volume.field(record.u16_at(6))?;
        let low = volume.field(record.u32_at(8))?;
        if LONGEST_WRITTEN < length {
            // reads as zeros
            return Ok(());
        }
        self.push(Run {
            logical,
            start: u64::from(high) << 32 | u64::from(low),
            length: u64::from(length),
        })
    }

    fn child(&mut self, record: &[u8], depth: u16) -> Result<(), DiskError> {
        let low = self.volume.field(record.u32_at(4))?;
        let high = self.volume.field(record.u16_at(8))?;
        let block = self.node_block(u64::from(high) << 32 | u64::from(low))?;
        if let Some(seed) = self.inode.seed {
            let room = self.volume.field(block.u16_at(4))?;
            let at = HEADER + usize::from(room) * RECORD;
            let sum = block.get(..at).map(|bytes| checksum(seed, bytes));
            if sum.is_none() || sum != block.u32_at(at) {
                return Err(self.damaged());
            }
        }
        self.node(&block, depth - 1)
    }

    /// A map of block numbers.
    fn map(&mut self) -> Result<(), DiskError> {
        let mut logical = 0;
        let area = self.inode.area;
        for index in 0..DIRECT {
            let block = self.volume.field(area.u32_at(index * 4))?;
            self.mapped(block, 0, &mut logical)?;
        }
        for level in 1..=LEVELS {
            let at = (DIRECT + level as usize - 1) * 4;
            let block = self.volume.field(area.u32_at(at))?;
            self.mapped(block, level, &mut logical)?;
        }
        Ok(())
    }

    fn mapped(&mut self, block: u32, level: u32, logical: &mut u64) -> Result<(), DiskError> {
        let each = self.volume.geometry.block_size / 4;
        if block == 0 || self.blocks <= *logical {
            *logical = logical.saturating_add(each.saturating_pow(level));
            return Ok(());
        }
        if level == 0 {
            let run = Run {
                logical: *logical,
                start: u64::from(block),
                length: 1,
            };
            *logical += 1;
            return self.push(run);
        }
        for number in self.node_block(block.into())?.chunks_exact(4) {
            let number = self.volume.field(number.u32_at(0))?;
            self.mapped(number, level - 1, logical)?;
        }
        Ok(())
    }
}
