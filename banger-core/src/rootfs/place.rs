//! Putting file content into its final place as it arrives.
//!
//! Invariants: blocks are handed out in the order of the calls, so that the
//! disk's bytes depend on the content alone; a block of zeros takes no place;
//! whole blocks go from the stream to the output in one copy.

use super::output::Output;
use crate::ext4::{Allocator, BLOCK_SIZE, Extent, Run};

const BLOCK: usize = 4096;
const _: () = assert!(BLOCK as u64 == BLOCK_SIZE);

/// Which of the [`Extents`] are a file's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Placed {
    first: u32,
    count: u32,
}

/// The extents of all files.
#[derive(Debug, Default)]
pub(super) struct Extents(Vec<Extent>);

impl Extents {
    pub(super) fn of(&self, placed: Placed) -> &[Extent] {
        let first = placed.first as usize;
        &self.0[first..first + placed.count as usize]
    }
}

/// Takes files' content, one file after the other.
pub(super) struct Placer<'a> {
    allocator: &'a mut Allocator,
    output: &'a mut Output,
    extents: &'a mut Extents,
    file: OpenFile,
}

/// The file being placed.
#[derive(Default)]
struct OpenFile {
    /// Its first extent.
    first: usize,
    /// The block being filled, in blocks of the file.
    block: u32,
    /// What is known of that block.
    partial: Vec<u8>,
}

impl<'a> Placer<'a> {
    pub(super) fn new(
        allocator: &'a mut Allocator,
        output: &'a mut Output,
        extents: &'a mut Extents,
    ) -> Self {
        let file = OpenFile {
            first: extents.0.len(),
            ..OpenFile::default()
        };
        Self {
            allocator,
            output,
            extents,
            file,
        }
    }

    /// The next bytes of the file.
    pub(super) fn put(&mut self, mut bytes: &[u8]) {
        if !self.file.partial.is_empty() {
            let missing = (BLOCK - self.file.partial.len()).min(bytes.len());
            let (now, later) = bytes.split_at(missing);
            self.file.partial.extend_from_slice(now);
            bytes = later;
            if self.file.partial.len() < BLOCK {
                return;
            }
            self.put_partial();
        }
        let (whole, rest) = bytes.split_at(bytes.len() / BLOCK * BLOCK);
        self.put_whole(whole);
        self.file.partial.extend_from_slice(rest);
    }

    /// Leaves a hole up to `position`, which lies ahead.
    pub(super) fn seek(&mut self, position: u64) {
        let block = u32::try_from(position / BLOCK_SIZE).unwrap_or(u32::MAX);
        let within = usize::try_from(position % BLOCK_SIZE).unwrap_or(0);
        if self.file.block < block {
            self.put_partial();
            self.file.block = block;
        }
        self.file.partial.resize(within, 0);
    }

    /// Ends the file and begins the next one.
    pub(super) fn end(&mut self) -> Placed {
        self.put_partial();
        let end = self.extents.0.len();
        let first = std::mem::replace(&mut self.file.first, end);
        self.file.block = 0;
        let number = |number| u32::try_from(number).unwrap_or(u32::MAX);
        Placed {
            first: number(first),
            count: number(end - first),
        }
    }

    /// Completes the block being filled.
    fn put_partial(&mut self) {
        if self.file.partial.is_empty() {
            return;
        }
        let mut partial = std::mem::take(&mut self.file.partial);
        partial.resize(BLOCK, 0);
        self.put_whole(&partial);
        partial.clear();
        self.file.partial = partial;
    }

    fn put_whole(&mut self, mut blocks: &[u8]) {
        while !blocks.is_empty() {
            let zeros = count_blocks(blocks, is_zero);
            self.skip(zeros);
            blocks = &blocks[zeros * BLOCK..];
            let data = count_blocks(blocks, |block| !is_zero(block));
            let (now, later) = blocks.split_at(data * BLOCK);
            self.put_data(now);
            blocks = later;
        }
    }

    fn skip(&mut self, blocks: usize) {
        let blocks = u32::try_from(blocks).unwrap_or(u32::MAX);
        self.file.block = self.file.block.saturating_add(blocks);
    }

    fn put_data(&mut self, mut blocks: &[u8]) {
        while !blocks.is_empty() {
            let run = self.allocator.next_run((blocks.len() / BLOCK) as u64);
            let (now, later) = blocks.split_at(usize::try_from(run.length).unwrap_or(1) * BLOCK);
            self.output.put(run.start * BLOCK_SIZE, now);
            self.map(run);
            blocks = later;
        }
    }

    /// Notes where the next blocks of the file are.
    fn map(&mut self, run: Run) {
        let length = u32::try_from(run.length).unwrap_or(u32::MAX);
        let logical = self.file.block;
        self.file.block = logical.saturating_add(length);
        if let Some(last) = self.extents.0[self.file.first..].last_mut()
            && last.logical + last.length == logical
            && last.start + u64::from(last.length) == run.start
        {
            last.length += length;
            return;
        }
        self.extents.0.push(Extent {
            logical,
            length,
            start: run.start,
        });
    }
}

fn count_blocks(blocks: &[u8], wanted: impl Fn(&[u8]) -> bool) -> usize {
    blocks
        .chunks_exact(BLOCK)
        .take_while(|block| wanted(block))
        .count()
}

fn is_zero(block: &[u8]) -> bool {
    // the C library compares with the widest instructions there are
    block == [0; BLOCK]
}
