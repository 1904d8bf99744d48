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
    LogChunk, LogPosition, LogStream, LogsError, LogsRequest,
    console_times::{Place, Times},
    files::VmFiles,
    lock::is_held,
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
    let LogsRequest { since, after, .. } = request;
    let log = off_thread(move || match after {
        Some(position) => Log::open(files)?.after(position),
        None => Log::open(files)?.from(since),
    });
    let log = log.await?;
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
    chunks: &mpsc::Sender<Result<LogChunk, LogsError>>,
) -> Result<(), PathError> {
    let mut log = log;
    let mut tail = request.tail.filter(|_| request.after.is_none());
    loop {
        // asked before reading: what a VM wrote before it ended is read
        let alive = request.follow && is_held(&log.files.directory)?;
        let (reader, segments) = off_thread(move || log.read(tail)).await;
        (log, tail) = (reader, None);
        for chunk in segments?.into_iter().flat_map(Segment::chunks) {
            if chunks.send(Ok(chunk)).await.is_err() {
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
    older: Option<Part>,
    newer: Option<Part>,
    /// Something before what is read next is missing.
    gap: bool,
}

/// A part of a log, which is read from some offset on.
#[derive(Debug)]
struct Part {
    file: File,
    offset: u64,
    /// Where it is in its log, as far as that is known.
    place: Option<Place>,
}

/// What was read of a part.
#[derive(Debug, PartialEq, Eq)]
struct Segment {
    content: Vec<u8>,
    end: Option<LogPosition>,
    gap: bool,
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
        let mut log = Self {
            older: older.map(Part::new),
            newer: newer.map(Part::new),
            files,
            gap: false,
        };
        log.find_places()?;
        Ok(log)
    }

    /// Looks where the parts are in their log. One that is begun just now follows the
    /// other one.
    fn find_places(&mut self) -> Result<(), PathError> {
        let times = self.times();
        let mut next = None;
        for part in [&mut self.older, &mut self.newer].into_iter().flatten() {
            let metadata = part
                .file
                .metadata()
                .at("inspect", &self.files.console_log())?;
            let found = times.iter().find(|times| times.are_of(&metadata));
            part.place = found.map(Times::place).or(next);
            next = part.place.map(|place| Place {
                start: place.start + metadata.len(),
                ..place
            });
        }
        Ok(())
    }

    fn times(&self) -> Vec<Times> {
        let paths = [self.files.older_console_times(), self.files.console_times()];
        paths.iter().filter_map(|path| Times::read(path)).collect()
    }

    /// Leaves out what was written before a time.
    fn from(mut self, since: Option<SystemTime>) -> Result<Self, PathError> {
        let Some(since) = since else { return Ok(self) };
        let times = self.times();
        for part in [&mut self.older, &mut self.newer].into_iter().flatten() {
            let metadata = part
                .file
                .metadata()
                .at("inspect", &self.files.console_log())?;
            // without its times all of a part is read
            part.offset = match times.iter().find(|times| times.are_of(&metadata)) {
                Some(times) => times.offset_of(since).unwrap_or(metadata.len()),
                None => 0,
            };
        }
        Ok(self)
    }

    /// Leaves out what comes before a place. What is not kept any more, or is of
    /// another boot's log, is a gap.
    fn after(mut self, position: LogPosition) -> Result<Self, PathError> {
        self.gap = true;
        for part in [&mut self.older, &mut self.newer].into_iter().flatten() {
            let metadata = part
                .file
                .metadata()
                .at("inspect", &self.files.console_log())?;
            let Some(place) = part.place.filter(|place| place.log == position.log) else {
                continue;
            };
            let (start, end) = (place.start, place.start + metadata.len());
            part.offset = position.offset.clamp(start, end) - start;
            self.gap &= !(start..=end).contains(&position.offset);
        }
        Ok(self)
    }

    /// What was written since the last call, or its last lines; at most the
    /// bound of the log. Gives itself back: it is moved to a thread and back.
    fn read(mut self, tail: Option<usize>) -> (Self, Result<Vec<Segment>, PathError>) {
        let segments = self.read_new();
        let segments = segments.map(|segments| match tail {
            Some(lines) => last_lines_of(segments, lines),
            None => segments,
        });
        (self, segments)
    }

    fn read_new(&mut self) -> Result<Vec<Segment>, PathError> {
        let path = self.files.console_log();
        let is_new = |part: &Part| part.offset == 0 && part.place.is_none();
        if self.newer.as_ref().is_some_and(is_new) {
            self.find_places()?;
        }
        let mut segments = Vec::new();
        if let Some(mut older) = self.older.take() {
            segments.push(older.rest(&self.files.older_console_log(), &mut self.gap)?);
        }
        let mut read_to = None;
        if let Some(newer) = &mut self.newer {
            let rotated = is_rotated(&newer.file, &path)?;
            // all of it: once rotated, nothing is added
            segments.push(newer.rest(&path, &mut self.gap)?);
            if !rotated {
                return Ok(segments);
            }
            read_to = newer.position();
        }
        let next = Self::open(self.files.clone())?;
        *self = match read_to {
            Some(position) => next.after(position)?,
            None => Self {
                older: None,
                ..next
            },
        };
        if let Some(mut older) = self.older.take() {
            segments.push(older.rest(&self.files.older_console_log(), &mut self.gap)?);
        }
        if let Some(newer) = &mut self.newer {
            segments.push(newer.rest(&path, &mut self.gap)?);
        }
        Ok(segments)
    }
}

impl Part {
    const fn new(file: File) -> Self {
        Self {
            file,
            offset: 0,
            place: None,
        }
    }

    /// Where in the log it is read next.
    fn position(&self) -> Option<LogPosition> {
        let place = self.place?;
        Some(LogPosition {
            log: place.log,
            offset: place.start + self.offset,
        })
    }

    /// Reads what is left of it. What is missing before it is told of once.
    fn rest(&mut self, path: &Utf8Path, gap: &mut bool) -> Result<Segment, PathError> {
        let mut content = Vec::new();
        let mut file = &self.file;
        file.seek(SeekFrom::Start(self.offset)).at("read", path)?;
        file.read_to_end(&mut content).at("read", path)?;
        self.offset += content.len() as u64;
        Ok(Segment {
            gap: !content.is_empty() && std::mem::take(gap),
            content,
            end: self.position(),
        })
    }
}

impl Segment {
    /// The pieces that it is sent in.
    fn chunks(self) -> impl Iterator<Item = LogChunk> {
        let Self { content, end, gap } = self;
        let mut left = Bytes::from(content);
        let mut gap = gap;
        std::iter::from_fn(move || {
            let bytes = left.split_to(left.len().min(CHUNK));
            let rest = left.len() as u64;
            (!bytes.is_empty()).then(|| LogChunk {
                bytes,
                end: end.map(|end| LogPosition {
                    offset: end.offset - rest,
                    ..end
                }),
                gap: std::mem::take(&mut gap),
            })
        })
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

/// The last lines of what was read, as they are in it.
fn last_lines_of(mut segments: Vec<Segment>, lines: usize) -> Vec<Segment> {
    let whole: Vec<u8> = segments
        .iter()
        .flat_map(|one| one.content.iter().copied())
        .collect();
    let mut kept = last_lines(&whole, lines).len();
    for segment in segments.iter_mut().rev() {
        let kept_here = kept.min(segment.content.len());
        kept -= kept_here;
        segment.content.drain(..segment.content.len() - kept_here);
        // what is missing is before what was left out
        segment.gap = false;
    }
    segments
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
    use crate::vm::console_times::TimesWriter;

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

    fn content(segments: Result<Vec<Segment>, PathError>) -> Vec<u8> {
        let segments = segments.unwrap().into_iter();
        segments.flat_map(|one| one.content).collect()
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
        let (log, segments) = log.read(None);
        assert_eq!(content(segments), b"one two three four ");
        fs::write(&newer, "four five").unwrap();
        let (_, segments) = log.read(None);
        assert_eq!(content(segments), b"five");
    }

    /// A part of a log, with its times.
    fn part(path: &Utf8Path, times: &Utf8Path, place: Place, text: &str) {
        drop(fs::remove_file(path));
        fs::write(path, text).unwrap();
        TimesWriter::create(times, &path.metadata().unwrap(), place).unwrap();
    }

    fn rotate(files: &VmFiles) {
        fs::rename(files.console_log(), files.older_console_log()).unwrap();
        fs::rename(files.console_times(), files.older_console_times()).unwrap();
    }

    #[test]
    fn a_reader_goes_on_after_a_place_and_hears_of_what_is_missing() {
        let scratch = tempfile::tempdir().unwrap();
        let files = files(&scratch);
        let newer = |log, start, text| {
            let place = Place { log, start };
            part(&files.console_log(), &files.console_times(), place, text);
        };
        newer(1, 0, "0123456789");
        rotate(&files);
        newer(1, 10, "abcde");
        let after = |log, offset| {
            let opened = Log::open(files.clone()).unwrap();
            let log = opened.after(LogPosition { log, offset }).unwrap();
            let segments = log.read(None).1.unwrap();
            let gap = segments.iter().any(|one| one.gap);
            let chunks = segments.into_iter().flat_map(Segment::chunks);
            let chunks: Vec<_> = chunks.map(|one| (one.bytes, one.end.unwrap())).collect();
            let bytes: Vec<_> = chunks
                .iter()
                .flat_map(|(bytes, _)| bytes.to_vec())
                .collect();
            let end = chunks.last().map(|(_, end)| (end.log, end.offset));
            (String::from_utf8(bytes).unwrap(), gap, end)
        };
        let whole = "0123456789abcde".to_owned();
        assert_eq!(after(1, 0), (whole.clone(), false, Some((1, 15))));
        assert_eq!(after(1, 7).0, "789abcde");
        assert_eq!(after(1, 12), ("cde".to_owned(), false, Some((1, 15))));
        assert_eq!(after(1, 15), (String::new(), false, None));
        // another boot's, and what never was
        assert_eq!(after(2, 3), (whole, true, Some((1, 15))));
        assert_eq!(after(1, 99), (String::new(), false, None));

        // a follower that falls behind by more than is kept
        let follower = Log::open(files.clone()).unwrap();
        let (follower, _) = follower.read(None);
        rotate(&files);
        newer(1, 15, "fghij");
        rotate(&files);
        newer(1, 20, "klm");
        let (follower, segments) = follower.read(None);
        let segments = segments.unwrap();
        assert!(segments.iter().all(|one| !one.gap), "{segments:?}");
        assert_eq!(content(Ok(segments)), b"fghijklm");
        for start in [23, 33, 43] {
            rotate(&files);
            newer(1, start, "0123456789");
        }
        let (_, segments) = follower.read(None);
        let segments = segments.unwrap();
        assert_eq!(segments.iter().filter(|one| one.gap).count(), 1);
        assert_eq!(content(Ok(segments)), b"01234567890123456789");
        assert!(after(1, 5).1);
    }

    #[test]
    fn last_lines_keep_their_places() {
        let segment = |text: &str, offset| Segment {
            content: text.into(),
            end: Some(LogPosition { log: 1, offset }),
            gap: true,
        };
        let all = vec![segment("a\nb", 3), segment("c\nd\n", 7)];
        let lines = last_lines_of(all, 2);
        let chunks = lines.into_iter().flat_map(Segment::chunks);
        let told: Vec<_> = chunks
            .map(|one| (one.bytes, one.end.unwrap().offset, one.gap))
            .collect();
        let expected = [("b", 3, false), ("c\nd\n", 7, false)];
        assert_eq!(
            told,
            expected.map(|(text, end, gap)| (Bytes::from(text), end, gap))
        );
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
            ..LogsRequest::default()
        };
        let path = files.console_log();
        let sending = async move { send(Log::open(files).unwrap(), request, &sender).await };
        let reading = async move {
            assert_eq!(chunks.recv().await.unwrap().unwrap().bytes, "b\n");
            let mut writer = fs::OpenOptions::new().append(true).open(&path).unwrap();
            writer.write_all(b"end").unwrap();
            drop(held);
            assert_eq!(chunks.recv().await.unwrap().unwrap().bytes, "end");
            assert!(chunks.recv().await.is_none());
        };
        let (sent, ()) = tokio::join!(sending, reading);
        sent.unwrap();
    }
}
