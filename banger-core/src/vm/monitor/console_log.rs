//! A console's log on disk, bounded by rotation.
//!
//! Invariants: at most two files of [`ConsoleLog::limit`] bytes, each with its
//! times beside it; what follows a rotation is in the new file; nothing is lost
//! but what the bound costs. Times that cannot be written cost nothing else.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    sync::{Arc, Mutex},
};

use uuid::Uuid;

use crate::{
    clock::Clock,
    host_fs::{IoContext as _, PathError, remove_tree_if_present},
    vm::{
        console_times::{Place, TimesWriter},
        files::VmFiles,
    },
};

/// Bytes of one of the two files.
pub(super) const CONSOLE_LOG_LIMIT: u64 = 4 << 20;

/// A log that several write to.
pub(super) type SharedLog = Arc<Mutex<ConsoleLog>>;

/// Appends to the newer part, which becomes the older one when it is full.
#[derive(Debug)]
pub(super) struct ConsoleLog {
    file: File,
    written: u64,
    limit: u64,
    place: Place,
    times: TimesWriter,
    clock: Arc<dyn Clock>,
    files: VmFiles,
}

impl ConsoleLog {
    /// Starts a boot's log: what former boots left is removed.
    pub(super) fn create(
        files: VmFiles,
        clock: Arc<dyn Clock>,
        limit: u64,
    ) -> Result<Self, PathError> {
        remove_tree_if_present(&files.older_console_log())?;
        remove_tree_if_present(&files.older_console_times())?;
        let current = files.console_log();
        // whoever still reads the former one sees that it is another
        remove_tree_if_present(&current)?;
        let file = File::create(&current).at("create", &current)?;
        let (_, log) = Uuid::now_v7().as_u64_pair();
        let place = Place { log, start: 0 };
        let part = file.metadata().at("inspect", &current)?;
        Ok(Self {
            file,
            written: 0,
            limit,
            place,
            times: TimesWriter::create(&files.console_times(), &part, place)?,
            clock,
            files,
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
            if let Err(error) = self.times.note(self.written, self.clock.now()) {
                tracing::debug!(%error, "a time of the console is lost");
            }
            self.file
                .write_all(now)
                .at("write", &self.files.console_log())?;
            self.written += now.len() as u64;
            bytes = later;
        }
        Ok(())
    }

    fn rotate(&mut self) -> Result<(), PathError> {
        let (current, times) = (self.files.console_log(), self.files.console_times());
        fs::rename(&current, self.files.older_console_log()).at("rotate", &current)?;
        fs::rename(&times, self.files.older_console_times()).at("rotate", &times)?;
        self.file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&current)
            .at("create", &current)?;
        let part = self.file.metadata().at("inspect", &current)?;
        self.place.start += self.written;
        self.written = 0;
        self.times = TimesWriter::create(&times, &part, self.place)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use camino::Utf8Path;

    use super::*;
    use crate::{clock::SystemClock, vm::console_times::Times};

    #[test]
    fn a_full_log_is_rotated_and_only_the_end_is_kept() {
        let scratch = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(scratch.path()).unwrap();
        let files = VmFiles {
            directory: root.to_owned(),
            runtime: root.join("run"),
            root_disk: root.join("root.ext4"),
        };
        let (current, older) = (files.console_log(), files.older_console_log());
        fs::write(&older, "from a former boot").unwrap();
        let clock = Arc::new(SystemClock);
        let mut log = ConsoleLog::create(files.clone(), clock, 10).unwrap();
        assert!(!older.exists());
        log.write(b"0123456789").unwrap();
        assert!(!older.exists());
        log.write(b"abcdefghijKLMNOPQRSTuvw").unwrap();
        assert_eq!(fs::read(&older).unwrap(), b"KLMNOPQRST");
        assert_eq!(fs::read(&current).unwrap(), b"uvw");
        for (part, times, start) in [
            (current, files.console_times(), 30),
            (older, files.older_console_times(), 20),
        ] {
            let times = Times::read(&times).unwrap();
            assert!(times.are_of(&fs::metadata(part).unwrap()));
            assert_eq!(
                (times.place().log, times.place().start),
                (log.place.log, start)
            );
        }
    }
}
