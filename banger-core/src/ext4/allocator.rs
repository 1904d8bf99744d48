//! Handing out blocks.

use super::{
    Options,
    geometry::{GROUP_BLOCKS, descriptor_area, has_superblock},
};

/// Blocks in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run {
    /// The first block.
    pub start: u64,
    /// How many.
    pub length: u64,
}

impl Run {
    pub(super) const fn end(self) -> u64 {
        self.start + self.length
    }
}

/// Hands out blocks, lowest first.
///
/// It jumps over the places that copies of the superblock and of the group
/// descriptors will take; where they are depends on [`Options::largest`] alone,
/// so a block that was handed out is final however large the file system
/// becomes.
#[derive(Clone, Debug)]
pub struct Allocator {
    /// The first block that was never handed out; not in a kept place.
    position: u64,
    /// Behind the last block that was handed out.
    used_end: u64,
    /// Blocks kept at the start of a group that has a superblock.
    kept: u64,
    /// Blocks below the position that are free, in no order.
    released: Vec<Run>,
}

impl Allocator {
    /// All blocks are free.
    #[must_use]
    pub fn new(options: &Options) -> Self {
        let kept = 1 + descriptor_area(options);
        Self {
            position: kept,
            used_end: kept,
            kept,
            released: Vec::new(),
        }
    }

    /// The next blocks in a row: at least one, at most `at_most`.
    pub fn next_run(&mut self, at_most: u64) -> Run {
        let run = Run {
            start: self.position,
            length: at_most.clamp(1, self.room()),
        };
        self.used_end = run.end();
        self.advance(run.length);
        run
    }

    /// So many blocks in a row, at most a group's less what is kept. Blocks
    /// passed over stay free.
    pub(super) fn next_whole_run(&mut self, blocks: u64) -> Run {
        let room = self.room();
        if room < blocks {
            let passed = self.next_run(room);
            self.release(passed);
        }
        self.next_run(blocks)
    }

    /// Makes blocks free again that were handed out.
    pub fn release(&mut self, run: Run) {
        self.released.push(run);
    }

    /// The first block that was never handed out.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// Behind the last block that was handed out: what a disk must have.
    pub(super) const fn used_end(&self) -> u64 {
        self.used_end
    }

    /// Blocks kept for the descriptors behind every superblock.
    pub(super) const fn descriptor_area(&self) -> u64 {
        self.kept - 1
    }

    /// The blocks below the position that are free, ascending and joined.
    pub(super) fn free_runs(&self) -> Vec<Run> {
        let mut runs = self.released.clone();
        runs.sort_unstable();
        runs.dedup_by(|next, last| {
            let touches = next.start <= last.end();
            if touches {
                last.length = last.length.max(next.end() - last.start);
            }
            touches
        });
        runs
    }

    /// Blocks kept at the start of `group`.
    pub(super) fn kept_of(&self, group: u64) -> u64 {
        if has_superblock(group) { self.kept } else { 0 }
    }

    /// Blocks up to the next kept place.
    fn room(&self) -> u64 {
        let mut group = self.position / GROUP_BLOCKS + 1;
        // kept places are far apart only beyond all real sizes: bound the look
        let last = group + GROUP_BLOCKS;
        while group < last && !has_superblock(group) {
            group += 1;
        }
        group * GROUP_BLOCKS - self.position
    }

    fn advance(&mut self, blocks: u64) {
        self.position += blocks;
        let (group, within) = (self.position / GROUP_BLOCKS, self.position % GROUP_BLOCKS);
        if within == 0 {
            self.position += self.kept_of(group);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allocator() -> Allocator {
        Allocator::new(&Options {
            uuid: [0; 16],
            hash_seed: [0; 16],
            created: super::super::Timestamp::default(),
            journal: true,
            largest: 1 << 30,
        })
    }

    #[test]
    fn kept_places_are_jumped_over() {
        let mut allocator = allocator();
        let first = allocator.next_run(u64::MAX);
        assert_eq!((first.start, first.end()), (129, 32_768));
        let second = allocator.next_run(10);
        assert_eq!((second.start, second.length), (32_768 + 129, 10));
        // groups 1 and 2 hold nothing else that is kept
        let third = allocator.next_run(u64::MAX);
        assert_eq!(third.end(), 3 * 32_768);
        assert_eq!(allocator.position(), 3 * 32_768 + 129);
        assert!(allocator.free_runs().is_empty());
    }

    #[test]
    fn a_whole_run_leaves_what_is_too_short() {
        let mut allocator = allocator();
        allocator.next_run(32_768 - 129 - 5);
        let whole = allocator.next_whole_run(6);
        assert_eq!((whole.start, whole.length), (32_768 + 129, 6));
        let passed = Run {
            start: 32_763,
            length: 5,
        };
        assert_eq!(allocator.free_runs(), [passed]);
    }

    #[test]
    fn free_runs_are_joined() {
        let mut allocator = allocator();
        let runs: Vec<Run> = (0..4).map(|_| allocator.next_run(2)).collect();
        for index in [2, 0, 1] {
            allocator.release(runs[index]);
        }
        let joined = Run {
            start: 129,
            length: 6,
        };
        assert_eq!(allocator.free_runs(), [joined]);
    }
}
