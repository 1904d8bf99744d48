//! Which blocks are taken, group by group.

use super::{
    Allocator, BLOCK, Run,
    geometry::{GROUP_BLOCKS, group_count},
};

/// The blocks of a finished file system.
pub(super) struct BlockMap {
    /// Blocks of the file system.
    blocks: u64,
    /// The first block that was never handed out.
    end: u64,
    free: Vec<Run>,
    allocator: Allocator,
}

/// One group's blocks.
pub(super) struct GroupMap {
    /// A bit for each block; those beyond the end are set.
    pub(super) bitmap: Vec<u8>,
    pub(super) free: u64,
}

impl BlockMap {
    pub(super) fn new(allocator: Allocator, blocks: u64) -> Self {
        Self {
            blocks,
            end: allocator.position(),
            free: allocator.free_runs(),
            allocator,
        }
    }

    pub(super) const fn group_count(&self) -> u64 {
        group_count(self.blocks)
    }

    /// Blocks in a group.
    pub(super) fn length(&self, group: u64) -> u64 {
        (self.blocks - group * GROUP_BLOCKS).min(GROUP_BLOCKS)
    }

    /// Whether a group holds nothing but what is kept for a superblock: then
    /// its bitmap need not be written (`BLOCK_UNINIT`). The last one's is.
    pub(super) fn is_untouched(&self, group: u64) -> bool {
        let start = group * GROUP_BLOCKS + self.allocator.kept_of(group);
        self.end <= start && group != 0 && group + 1 != self.group_count()
    }

    /// Free blocks of an untouched group.
    pub(super) fn untouched_free(&self, group: u64) -> u64 {
        self.length(group) - self.allocator.kept_of(group)
    }

    pub(super) fn group(&self, group: u64) -> GroupMap {
        let start = group * GROUP_BLOCKS;
        let mut bitmap = vec![0; BLOCK];
        let used = self.end.clamp(start, start + GROUP_BLOCKS) - start;
        set(&mut bitmap, 0, used, true);
        for run in self.free_in(start) {
            set(&mut bitmap, run.start - start, run.end() - start, false);
        }
        set(&mut bitmap, 0, self.allocator.kept_of(group), true);
        let length = self.length(group);
        set(&mut bitmap, length, GROUP_BLOCKS, true);
        let free: u32 = bitmap.iter().map(|byte| byte.count_zeros()).sum();
        GroupMap {
            bitmap,
            free: u64::from(free),
        }
    }

    /// The free runs, as far as they lie in the group that begins at `start`.
    fn free_in(&self, start: u64) -> impl Iterator<Item = Run> {
        let end = start + GROUP_BLOCKS;
        let first = self.free.partition_point(|run| run.end() <= start);
        let within = self.free[first..]
            .iter()
            .take_while(move |run| run.start < end);
        within.map(move |run| {
            let first = run.start.max(start);
            Run {
                start: first,
                length: run.end().min(end) - first,
            }
        })
    }
}

/// Sets or clears the bits from `first` up to `end`.
pub(super) fn set(bitmap: &mut [u8], first: u64, end: u64, value: bool) {
    let mut bit = first;
    while bit < end {
        let byte = usize::try_from(bit / 8).unwrap_or(usize::MAX);
        let (from, to) = (bit % 8, (end - bit / 8 * 8).min(8));
        let mask = u8::try_from((1_u16 << to) - (1_u16 << from)).unwrap_or(u8::MAX);
        match bitmap.get_mut(byte) {
            Some(bits) if value => *bits |= mask,
            Some(bits) => *bits &= !mask,
            None => return,
        }
        bit = (bit / 8 + 1) * 8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_set_within_and_across_bytes() {
        for first in 0..20 {
            for end in first..24 {
                let mut bitmap = [0; 3];
                set(&mut bitmap, first, end, true);
                let bits = (0..24).filter(|bit| bitmap[bit / 8] & 1 << (bit % 8) != 0);
                let first = usize::try_from(first).unwrap();
                let end = usize::try_from(end).unwrap();
                assert!(bits.eq(first..end), "{first}..{end}");
                set(&mut bitmap, 0, 24, false);
                assert_eq!(bitmap, [0; 3]);
            }
        }
    }
}
