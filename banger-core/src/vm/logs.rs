//! Reading a VM's console log, which its monitor may be writing and rotating.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::MetadataExt as _,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use camino::{Utf8Path, Utf8PathBuf};
use tokio::sync::mpsc;

use super::{
    LogStream, LogsError, LogsRequest, console_times::Times, files::VmFiles, lock::is_held,
    supervisor::Host,
};
use crate::{
    domain::Selector,
    host_fs::{IoContext as _, PathError},
    task::off_thread,
};

/// Chunks that may wait.
const QUEUE: usize = 16;
/// Bytes of a chunk.
const CHUNK: usize = 64 * 1024;
/// Between two looks at a log that is being followed.
const PAUSE: Duration = Duration::from_millis(100);

/// Reads the log.
pub(super) async fn logs(
    host: &Host,
    selector: &Selector,
    request: LogsRequest,
) -> Result<LogStream, LogsError> {
    let vm = host.find(selector).await?;
    let files = host.files(vm.id);
    let since = request.since;
    let log = off_thread(move || Log::open(files)?.from(since)).await?;
    let (sender, chunks) = mpsc::channel(QUEUE);
    drop(host.tasks.spawn(async move {
        if let Err(error) = send(log, request, &sender).await {
            // nobody may be listening
            drop(sender.send(Err(error.into())).await);
        }
    }));
    Ok(LogStream { chunks })
}

async fn send(
    log: Log,
    request: LogsRequest,
    chunks: &mpsc::Sender<Result<Bytes, LogsError>>,
) -> Result<(), PathError> {
    let mut log = log;
    let mut tail = request.tail;
    loop {
        // asked before reading: what a VM wrote before it ended is read
        let alive = request.follow && is_held(&log.files.directory)?;
        let (reader, content) = off_thread(move || log.read(tail)).await;
        (log, tail) = (reader, None);
        let content = content?;
        for chunk in content.chunks(CHUNK) {
            if chunks
                .send(Ok(Bytes::copy_from_slice(chunk)))
                .await
                .is_err()
            {
                return Ok(());
            }
        }
        if !alive {
            return Ok(());
        }
        tokio::select! {
            () = chunks.closed() => return Ok(()),
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

/// An open log: what is left to read of its older and its newer part.
#[derive(Debug)]
struct Log {
    files: VmFiles,
    older: Option<File>,
    newer: Option<File>,
}

impl Log {
    fn open(files: VmFiles) -> Result<Self, PathError> {
        let path = files.older_console_log();
        let mut older = open(&path)?;
        let newer = loop {
            let newer = open(&files.console_log())?;
            // a rotation in between would hide a part
            let now = open(&path)?;
            if identity(now.as_ref(), &path)? == identity(older.as_ref(), &path)? {
                break newer;
            }
            older = now;
        };
        Ok(Self {
            files,
            older,
            newer,
        })
    }

    /// Leaves out what was written before a time.
    fn from(mut self, since: Option<SystemTime>) -> Result<Self, PathError> {
        let Some(since) = since else { return Ok(self) };
        let paths = [self.files.older_console_times(), self.files.console_times()];
        let times: Vec<Times> = paths.iter().filter_map(|path| Times::read(path)).collect();
        for (part, path) in [
            (&mut self.older, self.files.older_console_log()),
            (&mut self.newer, self.files.console_log()),
        ] {
            let Some(file) = part else { continue };
            let metadata = file.metadata().at("inspect", &path)?;
            // without its times all of a part is read
            let offset = match times.iter().find(|times| times.are_of(&metadata)) {
                Some(times) => times.offset_of(since).unwrap_or(metadata.len()),
                None => 0,
            };
            file.seek(SeekFrom::Start(offset)).at("read", &path)?;
        }
        Ok(self)
    }

    /// What was written since the last call, or its last lines; at most the
    /// bound of the log. Gives itself back: it is moved to a thread and back.
    fn read(mut self, tail: Option<usize>) -> (Self, Result<Vec<u8>, PathError>) {
        let content = self.read_new();
        let content = content.map(|content| match tail {
            Some(lines) => last_lines(&content, lines).to_vec(),
            None => content,
        });
        (self, content)
    }

    fn read_new(&mut self) -> Result<Vec<u8>, PathError> {
        let mut content = Vec::new();
        let path = self.files.console_log();
        if let Some(older) = self.older.take() {
            read_rest(&older, &self.files.older_console_log(), &mut content)?;
        }
        if let Some(newer) = &self.newer {
            let rotated = is_rotated(newer, &path)?;
            // all of it: once rotated, nothing is added
            read_rest(newer, &path, &mut content)?;
            if !rotated {
                return Ok(content);
            }
        }
        self.newer = open(&path)?;
        if let Some(newer) = &self.newer {
            read_rest(newer, &path, &mut content)?;
        }
        Ok(content)
    }
}

/// The log's file, if there is one.
fn open(path: &Utf8Path) -> Result<Option<File>, PathError> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(PathError::new("open", path, error)),
    }
}

/// Whether another file has taken the place of an open one. A removed VM's log
/// is read to its end and no further.
fn is_rotated(file: &File, path: &Utf8PathBuf) -> Result<bool, PathError> {
    match open(path)? {
        Some(now) => Ok(identity(Some(&now), path)? != identity(Some(file), path)?),
        None => Ok(false),
    }
}

fn identity(file: Option<&File>, path: &Utf8Path) -> Result<Option<u64>, PathError> {
    let metadata = file.map(File::metadata).transpose().at("inspect", path)?;
    Ok(metadata.map(|metadata| metadata.ino()))
}

fn read_rest(mut file: &File, path: &Utf8Path, content: &mut Vec<u8>) -> Result<(), PathError> {
    file.read_to_end(content).at("read", path).map(drop)
}

/// The last lines of a text; a last line need not have an end.
fn last_lines(content: &[u8], lines: usize) -> &[u8] {
    let body = content.strip_suffix(b"\n").unwrap_or(content);
    if lines == 0 {
        return &[];
    }
    let mut ends = body
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, byte)| **byte == b'\n');
    match ends.nth(lines - 1) {
        Some((end, _)) => &content[end + 1..],
        None => content,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _};

    use super::*;

    #[test]
    fn last_lines_are_counted_from_the_end() {
        let cases: [(&[u8], usize, &[u8]); 7] = [
            (b"", 1, b""),
            (b"a\nb\nc\n", 0, b""),
            (b"a\nb\nc\n", 1, b"c\n"),
            (b"a\nb\nc", 2, b"b\nc"),
            (b"a\nb\nc\n", 3, b"a\nb\nc\n"),
            (b"a\nb\nc\n", 9, b"a\nb\nc\n"),
            (b"\n\n", 1, b"\n"),
        ];
        for (content, lines, expected) in cases {
            assert_eq!(last_lines(content, lines), expected);
        }
    }

    fn files(scratch: &tempfile::TempDir) -> VmFiles {
        let root = Utf8Path::from_path(scratch.path()).unwrap();
        VmFiles {
            directory: root.to_owned(),
            runtime: root.join("run"),
            root_disk: root.join("root.ext4"),
        }
    }

    #[test]
    fn a_rotation_hides_nothing_from_a_reader() {
        let scratch = tempfile::tempdir().unwrap();
        let files = files(&scratch);
        let (newer, older) = (files.console_log(), files.older_console_log());
        fs::write(&older, "one ").unwrap();
        fs::write(&newer, "two ").unwrap();
        let log = Log::open(files).unwrap();
        let mut writer = fs::OpenOptions::new().append(true).open(&newer).unwrap();
        writer.write_all(b"three ").unwrap();
        fs::rename(&newer, &older).unwrap();
        fs::write(&newer, "four ").unwrap();
        let (log, content) = log.read(None);
        assert_eq!(content.unwrap(), b"one two three four ");
        fs::write(&newer, "four five").unwrap();
        let (_, content) = log.read(None);
        assert_eq!(content.unwrap(), b"five");
    }

    #[tokio::test]
    async fn following_ends_when_nobody_holds_the_lock() {
        let scratch = tempfile::tempdir().unwrap();
        let files = files(&scratch);
        fs::write(files.console_log(), "a\nb\n").unwrap();
        let held = crate::host_fs::FileLock::try_acquire_existing(&files.directory)
            .unwrap()
            .unwrap();
        let (sender, mut chunks) = mpsc::channel(QUEUE);
        let request = LogsRequest {
            tail: Some(1),
            follow: true,
            since: None,
        };
        let path = files.console_log();
        let sending = async move { send(Log::open(files).unwrap(), request, &sender).await };
        let reading = async move {
            assert_eq!(chunks.recv().await.unwrap().unwrap(), "b\n");
            let mut writer = fs::OpenOptions::new().append(true).open(&path).unwrap();
            writer.write_all(b"end").unwrap();
            drop(held);
            assert_eq!(chunks.recv().await.unwrap().unwrap(), "end");
            assert!(chunks.recv().await.is_none());
        };
        let (sent, ()) = tokio::join!(sending, reading);
        sent.unwrap();
    }
}
