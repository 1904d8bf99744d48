//! When a console's log was written: beside each part of the log a file of
//! times, so that a reader can begin at a time.
//!
//! ```text
//! inode of the log's part, which log it is of, bytes of that log before it,
//! then (offset in it, milliseconds since 1970) …
//! ```
//!
//! Invariants: all numbers have 8 bytes, little-endian; both columns never
//! fall; what stands at and behind an offset was written at its time or later.
//! The inode says which part the times are of, whatever was renamed between
//! two looks. Entry points: [`TimesWriter`], [`Times`].

use std::{
    fs::{self, File, Metadata},
    io::{self, Write as _},
    os::unix::fs::MetadataExt as _,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use camino::Utf8Path;

use crate::host_fs::{IoContext as _, PathError};

/// Least time between two entries: how exact the times are.
const SPACING: Duration = Duration::from_millis(50);
/// Bytes of a number.
const NUMBER: usize = 8;
/// Most entries that are read: one for each few bytes of a part.
const ENTRY_LIMIT: usize = 1 << 20;

/// Where a part is in its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Which log: each boot begins one.
    pub(super) log: u64,
    /// Bytes of it before the part.
    pub(super) start: u64,
}

/// Writes the times of one part.
#[derive(Debug)]
pub(super) struct TimesWriter {
    file: File,
    last: Option<SystemTime>,
}

impl TimesWriter {
    /// Starts the times of a part of the log.
    pub(super) fn create(
        path: &Utf8Path,
        part: &Metadata,
        place: Place,
    ) -> Result<Self, PathError> {
        let mut file = File::create(path).at("create", path)?;
        let head = [part.ino(), place.log, place.start].map(u64::to_le_bytes);
        file.write_all(head.as_flattened()).at("write", path)?;
        Ok(Self { file, last: None })
    }

    /// Says that what is written from `offset` on is written now or later.
    pub(super) fn note(&mut self, offset: u64, now: SystemTime) -> io::Result<()> {
        let due = |last| {
            now.duration_since(last)
                .is_ok_and(|passed| SPACING <= passed)
        };
        if !self.last.is_none_or(due) {
            return Ok(());
        }
        self.last = Some(now);
        let mut entry = [0; 2 * NUMBER];
        entry[..NUMBER].copy_from_slice(&offset.to_le_bytes());
        entry[NUMBER..].copy_from_slice(&milliseconds(now).to_le_bytes());
        self.file.write_all(&entry)
    }
}

/// The times of one part, read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Times {
    inode: u64,
    place: Place,
    entries: Vec<(u64, u64)>,
}

impl Times {
    /// Reads a file of times; none when there is none, or none that is whole.
    pub(super) fn read(path: &Utf8Path) -> Option<Self> {
        parse(&fs::read(path).ok()?)
    }

    /// Whether these are of a part.
    pub(super) fn are_of(&self, part: &Metadata) -> bool {
        self.inode == part.ino()
    }

    /// Where the part is in its log.
    pub(super) const fn place(&self) -> Place {
        self.place
    }

    /// Where what was written at `since` or later begins; none when all of it
    /// is older.
    pub(super) fn offset_of(&self, since: SystemTime) -> Option<u64> {
        let since = milliseconds(since);
        let first = self.entries.iter().find(|(_, at)| since <= *at);
        first.map(|(offset, _)| *offset)
    }
}

/// A last entry that is not whole yet is left out.
fn parse(content: &[u8]) -> Option<Times> {
    let (head, entries) = content.split_at_checked(3 * NUMBER)?;
    let entries = entries.chunks_exact(2 * NUMBER).take(ENTRY_LIMIT);
    let number = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).unwrap_or_default();
    Some(Times {
        inode: number(&head[..NUMBER]),
        place: Place {
            log: number(&head[NUMBER..2 * NUMBER]),
            start: number(&head[2 * NUMBER..]),
        },
        entries: entries
            .map(|entry| (number(&entry[..NUMBER]), number(&entry[NUMBER..])))
            .collect(),
    })
}

fn milliseconds(time: SystemTime) -> u64 {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(millis)
    }

    #[test]
    fn a_time_leads_to_where_it_was_written() {
        let scratch = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(scratch.path()).unwrap().join("times");
        let (part, other) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let part = part.metadata().unwrap();
        let place = Place { log: 5, start: 7 };
        let mut writer = TimesWriter::create(&path, &part, place).unwrap();
        for (offset, millis) in [(0, 1000), (10, 1020), (20, 1060), (30, 1000), (40, 2000)] {
            writer.note(offset, at(millis)).unwrap();
        }
        let times = Times::read(&path).unwrap();
        assert_eq!(times.place(), place);
        assert!(times.are_of(&part) && !times.are_of(&other.metadata().unwrap()));
        for (since, expected) in [
            (0, Some(0)),
            (1000, Some(0)),
            (1001, Some(20)),
            (1061, Some(40)),
            (2000, Some(40)),
            (2001, None),
        ] {
            assert_eq!(times.offset_of(at(since)), expected, "{since}");
        }
    }

    #[test]
    fn what_is_not_whole_is_left_out() {
        assert_eq!(parse(&[7; 23]), None);
        let mut content = [7; 24].to_vec();
        content.extend([1; 16]);
        content.extend([2; 15]);
        assert_eq!(parse(&content).unwrap().entries.len(), 1);
    }
}
