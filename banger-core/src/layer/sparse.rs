//! Sparse files: which parts are stored, and the file that results.

use std::io::{self, Read};

/// A stored part of a sparse file, in bytes of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataRun {
    /// Where it starts.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
}

impl DataRun {
    const fn end(&self) -> u64 {
        self.offset + self.length
    }
}

/// Checks that runs ascend, do not overlap, and end within the file, and drops
/// empty ones. None when they do not.
pub(super) fn checked_runs(
    runs: impl Iterator<Item = (u64, u64)>,
    size: u64,
) -> Option<Vec<DataRun>> {
    let mut checked: Vec<DataRun> = Vec::new();
    for (offset, length) in runs {
        let floor = checked.last().map_or(0, DataRun::end);
        let end = offset.checked_add(length)?;
        if offset < floor || size < end {
            return None;
        }
        if length != 0 {
            checked.push(DataRun { offset, length });
        }
    }
    Some(checked)
}

/// The whole blocks that hold the runs, joined where they touch; the last one
/// ends with the file.
#[must_use]
pub fn block_runs(runs: &[DataRun], size: u64, block: u64) -> Vec<DataRun> {
    let mut blocks: Vec<DataRun> = Vec::new();
    for run in runs {
        let start = run.offset / block * block;
        let end = (run.end().div_ceil(block) * block).min(size);
        match blocks.last_mut() {
            Some(last) if start <= last.end() => last.length = end.max(last.end()) - last.offset,
            _ => blocks.push(DataRun {
                offset: start,
                length: end - start,
            }),
        }
    }
    blocks
}

/// Reads whole blocks of a sparse file: stored bytes where there are some,
/// zeros between them.
#[derive(Debug)]
pub struct Expand<'a, R> {
    stored: R,
    runs: &'a [DataRun],
    blocks: &'a [DataRun],
    position: u64,
}

impl<'a, R: Read> Expand<'a, R> {
    /// The content of `blocks`, where `stored` gives the content of `runs`.
    pub fn new(stored: R, runs: &'a [DataRun], blocks: &'a [DataRun]) -> Self {
        Self {
            stored,
            runs,
            blocks,
            position: blocks.first().map_or(0, |block| block.offset),
        }
    }

    /// Moves on to the next block that has bytes left.
    fn block_end(&mut self) -> Option<u64> {
        while let Some(block) = self.blocks.first() {
            if self.position < block.end() {
                self.position = self.position.max(block.offset);
                return Some(block.end());
            }
            self.blocks = &self.blocks[1..];
        }
        None
    }

    /// The run that holds the position, or where the next one starts.
    fn run(&mut self) -> Result<DataRun, u64> {
        while self
            .runs
            .first()
            .is_some_and(|run| run.end() <= self.position)
        {
            self.runs = &self.runs[1..];
        }
        match self.runs.first() {
            Some(run) if run.offset <= self.position => Ok(*run),
            Some(run) => Err(run.offset),
            None => Err(u64::MAX),
        }
    }
}

impl<R: Read> Read for Expand<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(block_end) = self.block_end() else {
            return Ok(0);
        };
        let (end, run) = match self.run() {
            Ok(run) => (run.end().min(block_end), true),
            Err(next) => (next.min(block_end), false),
        };
        let wanted = usize::try_from(end - self.position)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let read = if run {
            self.stored.read(&mut buffer[..wanted])?
        } else {
            buffer[..wanted].fill(0);
            wanted
        };
        if read == 0 && wanted != 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.position += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn overlapping_descending_and_overlong_runs_are_refused() {
        assert_eq!(checked_runs([(0, 4), (2, 4)].into_iter(), 10), None);
        assert_eq!(checked_runs([(6, 2), (0, 2)].into_iter(), 10), None);
        assert_eq!(checked_runs([(8, 4)].into_iter(), 10), None);
        assert_eq!(checked_runs([(u64::MAX, 2)].into_iter(), 10), None);
        assert_eq!(checked_runs([(10, 0)].into_iter(), 10), Some(Vec::new()));
    }

    proptest! {
        #[test]
        fn blocks_hold_exactly_the_file(gaps in prop::collection::vec((0_u64..9, 1_u64..9), 0..8), tail in 0_u64..9) {
            let mut file = Vec::new();
            let mut stored = Vec::new();
            let mut runs = Vec::new();
            for (gap, length) in gaps {
                file.extend(std::iter::repeat_n(0, usize::try_from(gap).unwrap()));
                runs.push(DataRun { offset: file.len() as u64, length });
                for _ in 0..length {
                    let byte = u8::try_from(file.len() % 250 + 1).unwrap();
                    file.push(byte);
                    stored.push(byte);
                }
            }
            file.extend(std::iter::repeat_n(0, usize::try_from(tail).unwrap()));
            let blocks = block_runs(&runs, file.len() as u64, 4);
            let mut read = Vec::new();
            Expand::new(stored.as_slice(), &runs, &blocks).read_to_end(&mut read).unwrap();
            let mut rebuilt = vec![0; file.len()];
            let mut rest = read.as_slice();
            for block in &blocks {
                let (content, after) = rest.split_at(usize::try_from(block.length).unwrap());
                let start = usize::try_from(block.offset).unwrap();
                rebuilt[start..start + content.len()].copy_from_slice(content);
                rest = after;
            }
            prop_assert!(rest.is_empty());
            prop_assert_eq!(rebuilt, file);
        }
    }
}
