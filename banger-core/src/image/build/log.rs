//! The log of a build: what banger did and what the guest or the program said.
//!
//! Invariants: one writer per image name, by a lock; the file of a failed build
//! stays until the next build of that name, that of a good one goes into the
//! image's directory; it has a bounded length.

use std::{
    fs::File,
    io::{self, Write},
    time::Duration,
};

use camino::{Utf8Path, Utf8PathBuf};

use super::BuildImageError;
use crate::{
    directories::Directories,
    domain::ImageName,
    host_fs::{FileLock, IoContext as _, PathError, create_directory, remove_tree_if_present},
    step::reached,
};

/// How long a build waits for another one of the same name to end.
const LOCK_DEADLINE: Duration = Duration::from_hours(1);
/// Most bytes of a log; what comes later is left out.
const LIMIT: u64 = 64 << 20;
/// The last line of a log that was cut.
const CUT: &str = "the log is full: the rest is left out";
/// The log's name beside the disk of an image.
pub(super) const LOG_FILE: &str = "build.log";

/// Writes a line of banger's own into a build's log: one line, whatever the
/// message holds, told from the guest's by its start.
pub fn write_build_log(log: &mut impl Write, message: &str) -> io::Result<()> {
    let line: String = message
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect();
    writeln!(log, "[image build] {line}")
}

/// A log being written.
#[derive(Debug)]
pub(super) struct BuildLog {
    path: Utf8PathBuf,
    file: File,
    left: u64,
    _lock: FileLock,
}

impl BuildLog {
    /// Starts the log of an image, once no other build of that name is at work.
    pub(super) async fn start(
        directories: &Directories,
        name: &ImageName,
    ) -> Result<Self, BuildImageError> {
        let lock = directories.locks().join(format!("build-{name}.lock"));
        let lock = FileLock::acquire(&lock, LOCK_DEADLINE).await;
        let lock = lock.map_err(BuildImageError::lock(name))?;
        let path = directories.build_log(name);
        let created = create_directory(&directories.build_logs())
            .and_then(|()| File::create(&path).at("create", &path));
        reached("made the log of a build");
        Ok(Self {
            file: created.map_err(BuildImageError::io(name))?,
            path,
            left: LIMIT,
            _lock: lock,
        })
    }

    /// Where it lies.
    pub(super) fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// Adds what the guest or the program said.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Result<(), PathError> {
        let written = self.write_all(bytes);
        written.at("write", &self.path)
    }

    /// Adds a line of banger's own.
    pub(super) fn say(&mut self, message: &str) -> Result<(), PathError> {
        let written = write_build_log(self, message);
        written.at("write", &self.path)
    }

    /// Removes the log of a build that went well.
    pub(super) fn remove(self) {
        if let Err(error) = remove_tree_if_present(&self.path) {
            tracing::warn!(%error, "the log of a build is left");
        }
    }
}

impl Write for BuildLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len() as u64;
        if self.left < length {
            if 0 < self.left {
                self.left = 0;
                writeln!(self.file, "\n{CUT}")?;
            }
        } else {
            self.left -= length;
            self.file.write_all(bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directories(scratch: &tempfile::TempDir) -> Directories {
        let root = Utf8Path::from_path(scratch.path()).unwrap();
        Directories {
            state: root.join("state"),
            cache: root.join("cache"),
            runtime: root.join("run"),
        }
    }

    #[test]
    fn a_message_is_one_line_whatever_it_holds() {
        let mut log = Vec::new();
        write_build_log(&mut log, "run a\nb\u{1b}[2J\r").unwrap();
        assert_eq!(log, b"[image build] run a b [2J \n");
    }

    proptest::proptest! {
        #[test]
        fn any_message_is_one_line_that_tells_its_writer(message in "\\PC*|[\\x00-\\x7f]*") {
            let mut log = Vec::new();
            write_build_log(&mut log, &message).unwrap();
            let text = String::from_utf8(log).unwrap();
            proptest::prop_assert!(text.starts_with("[image build] ") && text.ends_with('\n'));
            proptest::prop_assert_eq!(text.chars().filter(|letter| letter.is_control()).count(), 1);
        }
    }

    #[tokio::test]
    async fn a_log_is_kept_until_the_next_build_of_its_name() {
        let scratch = tempfile::tempdir().unwrap();
        let directories = directories(&scratch);
        let name = "image".parse().unwrap();
        for text in ["one", "two"] {
            let mut log = BuildLog::start(&directories, &name).await.unwrap();
            log.add(text.as_bytes()).unwrap();
            let path = log.path().to_owned();
            drop(log);
            assert_eq!(std::fs::read_to_string(path).unwrap(), text);
        }
        let log = BuildLog::start(&directories, &name).await.unwrap();
        let path = log.path().to_owned();
        log.remove();
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_full_log_says_so_once_and_takes_no_more() {
        let scratch = tempfile::tempdir().unwrap();
        let name = "image".parse().unwrap();
        let mut log = BuildLog::start(&directories(&scratch), &name)
            .await
            .unwrap();
        log.left = 5;
        for text in ["abc", "more", "more", "x"] {
            log.add(text.as_bytes()).unwrap();
        }
        let text = std::fs::read_to_string(log.path()).unwrap();
        assert_eq!(text, format!("abc\n{CUT}\n"));
    }
}
