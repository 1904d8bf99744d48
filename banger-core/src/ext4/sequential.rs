//! Writes of many small neighbours as few large ones.

use std::io;

use super::Disk;

/// Most bytes that are gathered.
const GATHERED: usize = 1 << 20;

/// Gathers bytes that lie one after the other on the disk.
pub(super) struct Sequential<'a, D: ?Sized> {
    disk: &'a D,
    start: u64,
    bytes: Vec<u8>,
    written: u64,
}

impl<'a, D: Disk + ?Sized> Sequential<'a, D> {
    pub(super) const fn new(disk: &'a D) -> Self {
        Self {
            disk,
            start: 0,
            bytes: Vec::new(),
            written: 0,
        }
    }

    pub(super) fn put(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let next = self.start + self.bytes.len() as u64;
        if offset != next || GATHERED < self.bytes.len() + bytes.len() {
            self.flush()?;
            self.start = offset;
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.bytes.is_empty() {
            self.disk.write_at(self.start, &self.bytes)?;
            self.written += self.bytes.len() as u64;
            self.bytes.clear();
        }
        Ok(())
    }

    /// Writes what is left; answers how many bytes were written in all.
    pub(super) fn finish(mut self) -> io::Result<u64> {
        self.flush()?;
        Ok(self.written)
    }
}
