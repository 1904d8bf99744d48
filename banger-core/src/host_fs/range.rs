//! Part of an open file, such as a member of an archive.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::FileExt as _,
    sync::Arc,
};

/// A range of bytes of an open file. Reading it moves nothing that other
/// readers of the file see; the file stays readable when its name is gone.
#[derive(Clone, Debug)]
pub struct FileRange {
    file: Arc<File>,
    start: u64,
    length: u64,
}

impl PartialEq for FileRange {
    fn eq(&self, other: &Self) -> bool {
        let bounds = |range: &Self| (range.start, range.length);
        Arc::ptr_eq(&self.file, &other.file) && bounds(self) == bounds(other)
    }
}

impl Eq for FileRange {}

impl FileRange {
    /// All that a file holds now.
    pub fn whole(file: impl Into<Arc<File>>) -> io::Result<Self> {
        let file = file.into();
        let length = file.metadata()?.len();
        Ok(Self {
            file,
            start: 0,
            length,
        })
    }

    /// A part of it; none when it is not all within.
    #[must_use]
    pub fn part(&self, start: u64, length: u64) -> Option<Self> {
        let end = start.checked_add(length)?;
        (end <= self.length).then(|| Self {
            file: Arc::clone(&self.file),
            start: self.start + start,
            length,
        })
    }

    /// How many bytes it has.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Reads it from its start.
    #[must_use]
    pub fn reader(&self) -> RangeReader {
        RangeReader {
            range: self.clone(),
            position: 0,
        }
    }

    /// Its first bytes, at most so many.
    pub fn read_at_most(&self, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.reader().take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Reads a [`FileRange`].
#[derive(Debug)]
pub struct RangeReader {
    range: FileRange,
    position: u64,
}

impl RangeReader {
    /// How many bytes the range has.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.range.length
    }
}

impl Read for RangeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.range.length.saturating_sub(self.position);
        let length = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let at = self.range.start.saturating_add(self.position);
        let read = self.range.file.read_at(&mut buffer[..length], at)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl Seek for RangeReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
            SeekFrom::End(offset) => self.range.length.checked_add_signed(offset),
        };
        let outside = || io::Error::new(io::ErrorKind::InvalidInput, "before the range's start");
        self.position = position.ok_or_else(outside)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_range_reads_its_own_bytes_and_no_others() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        let whole = FileRange::whole(file).unwrap();
        let part = whole.part(2, 5).unwrap();
        let inner = part.part(1, 3).unwrap();
        assert_eq!(inner.read_at_most(9).unwrap(), b"345");
        assert_eq!(part.read_at_most(2).unwrap(), b"23");
        assert_eq!(part.part(1, 5), None);
        assert_eq!(part.part(u64::MAX, 2), None);
        let mut reader = part.reader();
        reader.seek(SeekFrom::End(-1)).unwrap();
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "6");
        reader.seek(SeekFrom::Current(100)).unwrap();
        assert_eq!(reader.read(&mut [0; 4]).unwrap(), 0);
        assert!(reader.seek(SeekFrom::Current(-1000)).is_err());
    }
}
