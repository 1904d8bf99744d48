//! A console's log on disk, bounded by rotation.
//!
//! Invariants: at most two files of [`ConsoleLog::limit`] bytes; what follows
//! a rotation is in the new file; nothing is lost but what the bound costs.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
};

use camino::Utf8PathBuf;

use crate::host_fs::{IoContext as _, PathError};

/// Bytes of one of the two files.
pub(super) const CONSOLE_LOG_LIMIT: u64 = 4 << 20;

/// Appends to `current`, which becomes `older` when it is full.
#[derive(Debug)]
pub(super) struct ConsoleLog {
    file: File,
    written: u64,
    limit: u64,
    current: Utf8PathBuf,
    older: Utf8PathBuf,
}

impl ConsoleLog {
    /// Starts a boot's log: what former boots left is removed.
    pub(super) fn create(
        current: Utf8PathBuf,
        older: Utf8PathBuf,
        limit: u64,
    ) -> Result<Self, PathError> {
        crate::host_fs::remove_tree_if_present(&older)?;
        Ok(Self {
            file: File::create(&current).at("create", &current)?,
            written: 0,
            limit,
            current,
            older,
        })
    }

    /// Appends bytes.
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<(), PathError> {
        while !bytes.is_empty() {
            if self.limit <= self.written {
                self.rotate()?;
            }
            let room = usize::try_from(self.limit - self.written).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(bytes.len().min(room));
            self.file.write_all(now).at("write", &self.current)?;
            self.written += now.len() as u64;
            bytes = later;
        }
        Ok(())
    }

    fn rotate(&mut self) -> Result<(), PathError> {
        fs::rename(&self.current, &self.older).at("rotate", &self.current)?;
        self.file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&self.current)
            .at("create", &self.current)?;
        self.written = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use camino::Utf8Path;

    use super::*;

    #[test]
    fn a_full_log_is_rotated_and_only_the_end_is_kept() {
        let scratch = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(scratch.path()).unwrap();
        let (current, older) = (root.join("console.log"), root.join("console.log.1"));
        fs::write(&older, "from a former boot").unwrap();
        let mut log = ConsoleLog::create(current.clone(), older.clone(), 10).unwrap();
        assert!(!older.exists());
        log.write(b"0123456789").unwrap();
        assert!(!older.exists());
        log.write(b"abcdefghijKLMNOPQRSTuvw").unwrap();
        assert_eq!(fs::read(&older).unwrap(), b"KLMNOPQRST");
        assert_eq!(fs::read(&current).unwrap(), b"uvw");
    }
}
