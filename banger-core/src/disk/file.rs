//! A file on a disk, read piece by piece.

use super::{DiskError, DiskReader};

/// A regular file on a disk, open for reading. Holes read as zeros.
#[derive(Debug)]
pub struct DiskFile<'a> {
    disk: &'a DiskReader,
    path: Vec<u8>,
    file: ext4_view::File,
}

impl<'a> DiskFile<'a> {
    pub(super) fn open(disk: &'a DiskReader, path: &[u8]) -> Result<Self, DiskError> {
        let opened = disk.file_system.open(&disk.path(path)?);
        Ok(Self {
            file: opened.map_err(|error| disk.failed(path, error))?,
            path: path.to_vec(),
            disk,
        })
    }

    /// Its length in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.file.metadata().len()
    }

    /// Goes on reading at this offset; beyond its end there is nothing.
    pub fn seek(&mut self, offset: u64) -> Result<(), DiskError> {
        // the way there is as long as it has blocks
        let sought = self.file.seek_to(offset.min(self.size()));
        sought.map_err(|error| self.disk.failed(&self.path, error))
    }

    /// Reads the next bytes: as many as there is room for, fewer only at its end.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, DiskError> {
        let mut length = 0;
        while length < buffer.len() {
            let read = self.file.read_bytes(&mut buffer[length..]);
            match read.map_err(|error| self.disk.failed(&self.path, error))? {
                0 => break,
                read => length += read,
            }
        }
        Ok(length)
    }
}
