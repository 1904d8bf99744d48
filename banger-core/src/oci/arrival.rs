//! A blob's bytes, read while they still arrive.
//!
//! Purpose: whoever inflates a layer follows its download instead of waiting
//! for its end. Invariants: only bytes that are written are shown; bytes shown
//! may be wrong until the blob is whole, so what is made of them counts only
//! once its fetching ended well; a reader never waits longer than the fetching
//! lasts, which has deadlines of its own.
//! Entry points: [`arrival`], [`Arrival`], [`ArrivalReader`], [`ArrivalFeed`].

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt as _,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use camino::Utf8PathBuf;

use crate::{domain::Bytes, host_fs::FileRange};

/// A blob on its way, for those who read it.
#[derive(Clone)]
pub struct Arrival(Arc<Shared>);

/// A blob on its way, for whoever fetches it. Dropped before the blob is
/// whole, it lets the readers fail.
pub(super) struct ArrivalFeed(Arc<Shared>);

struct Shared {
    /// Where the blob is once it is whole.
    path: Utf8PathBuf,
    /// Bytes of the whole blob.
    length: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// What is being written. Not kept when the blob is whole: there may be
    /// more blobs than a process may have open files.
    file: Option<Arc<File>>,
    /// Bytes of the file that may be read.
    shown: u64,
    /// How often shown bytes were taken back.
    taken_back: u32,
    end: Option<End>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    Lost,
}

/// Both sides of a blob of that length, which will be at `path`.
pub(super) fn arrival(path: Utf8PathBuf, length: Bytes) -> (Arrival, ArrivalFeed) {
    let shared = Arc::new(Shared {
        path,
        length: length.get(),
        state: Mutex::default(),
        changed: Condvar::new(),
    });
    (Arrival(Arc::clone(&shared)), ArrivalFeed(shared))
}

impl Arrival {
    /// Reads the blob from its start, as it arrives.
    pub(crate) fn reader(&self) -> ArrivalReader {
        ArrivalReader {
            arrival: self.clone(),
            file: None,
            position: 0,
            taken_back: 0,
        }
    }

    /// The whole blob. Holds up its thread until it is there.
    pub(crate) fn whole(&self) -> io::Result<FileRange> {
        let mut state = self.0.lock();
        loop {
            match state.end {
                Some(End::Whole) => return FileRange::whole(File::open(&self.0.path)?),
                Some(End::Lost) => return Err(lost()),
                None => state = self.0.wait(state),
            }
        }
    }

    /// Whether the whole blob is there.
    pub(crate) fn is_whole(&self) -> bool {
        self.0.lock().end == Some(End::Whole)
    }

    /// Whether bytes turned out to be wrong that were shown: whoever read them
    /// has to read again.
    pub(crate) fn was_taken_back(&self) -> bool {
        self.0.lock().taken_back != 0
    }
}

impl PartialEq for Arrival {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Arrival {}

impl fmt::Debug for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrival")
            .field("length", &self.0.length)
            .field("shown", &self.0.lock().shown)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let woken = self.changed.wait(state);
        woken.unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }
}

impl State {
    /// Shows so many bytes; fewer than before take bytes back.
    fn show(&mut self, length: u64) {
        if length < self.shown {
            self.taken_back += 1;
        }
        self.shown = length;
    }
}

impl ArrivalFeed {
    /// The file that the bytes are written to, and how many it has.
    pub(super) fn begin(&self, file: File, length: u64) {
        self.0.change(|state| {
            state.file = Some(Arc::new(file));
            state.show(length);
        });
    }

    /// So many bytes are written now. To take bytes back, say so before they
    /// are overwritten.
    pub(super) fn show(&self, length: u64) {
        self.0.change(|state| state.show(length));
    }

    /// The blob is whole and verified, and has its own name.
    pub(super) fn end(&self) {
        self.0.change(|state| {
            state.file = None;
            state.shown = self.0.length;
            state.end = Some(End::Whole);
        });
    }
}

impl Drop for ArrivalFeed {
    fn drop(&mut self) {
        self.0.change(|state| {
            state.end.get_or_insert(End::Lost);
        });
    }
}

/// Reads a blob as it arrives; holds up its thread where nothing is there yet.
#[derive(Debug)]
pub(crate) struct ArrivalReader {
    arrival: Arrival,
    file: Option<Arc<File>>,
    position: u64,
    /// How often bytes had been taken back when the first ones were read.
    taken_back: u32,
}

impl ArrivalReader {
    /// How many bytes the whole blob has.
    pub(crate) fn length(&self) -> u64 {
        self.arrival.0.length
    }

    /// Waits until more of the blob is there; answers how much.
    fn wait(&mut self) -> io::Result<u64> {
        let shared = &self.arrival.0;
        let mut state = shared.lock();
        loop {
            if self.position == 0 {
                self.taken_back = state.taken_back;
            }
            if self.taken_back != state.taken_back {
                return Err(taken_back());
            }
            if self.position < state.shown {
                self.file = self.file.take().or_else(|| state.file.clone());
                return Ok(state.shown - self.position);
            }
            if state.end.is_some() {
                return Err(lost());
            }
            state = shared.wait(state);
        }
    }

    fn file(&mut self) -> io::Result<&File> {
        if self.file.is_none() {
            self.file = Some(Arc::new(File::open(&self.arrival.0.path)?));
        }
        self.file.as_deref().ok_or_else(lost)
    }
}

impl Read for ArrivalReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || self.length() <= self.position {
            return Ok(0);
        }
        let there = self.wait()?;
        let length = usize::try_from(there).map_or(buffer.len(), |there| there.min(buffer.len()));
        let position = self.position;
        let read = self.file()?.read_at(&mut buffer[..length], position)?;
        if read == 0 {
            return Err(taken_back());
        }
        self.position += read as u64;
        Ok(read)
    }
}

fn lost() -> io::Error {
    io::Error::other("it did not arrive")
}

fn taken_back() -> io::Error {
    io::Error::other("its download began anew")
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _, thread};

    use super::*;

    const BLOB: &[u8] = b"0123456789";

    struct Download {
        path: Utf8PathBuf,
        file: File,
        arrival: Arrival,
        feed: ArrivalFeed,
        _scratch: tempfile::TempDir,
    }

    fn download() -> Download {
        let scratch = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::try_from(scratch.path().join("blob")).unwrap();
        let (arrival, feed) = arrival(path.clone(), Bytes::new(BLOB.len() as u64));
        Download {
            file: tempfile::NamedTempFile::new_in(scratch.path())
                .unwrap()
                .into_file(),
            path,
            arrival,
            feed,
            _scratch: scratch,
        }
    }

    impl Download {
        fn write(&mut self, bytes: &[u8], length: u64) {
            self.file.write_all(bytes).unwrap();
            self.feed.begin(self.file.try_clone().unwrap(), length);
        }
    }

    fn all_of(mut reader: ArrivalReader) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    #[test]
    fn a_reader_gets_every_byte_whenever_it_comes() {
        let mut download = download();
        let reader = download.arrival.reader();
        let reading = thread::spawn(move || all_of(reader));
        for (number, byte) in (1..).zip(BLOB) {
            download.write(&[*byte], number);
        }
        assert_eq!(reading.join().unwrap().unwrap(), BLOB);
        assert!(!download.arrival.is_whole(), "it may still be wrong");
        fs::write(&download.path, BLOB).unwrap();
        download.feed.end();
        assert_eq!(all_of(download.arrival.reader()).unwrap(), BLOB);
        let whole = download.arrival.whole().unwrap();
        assert_eq!(whole.read_at_most(99).unwrap(), BLOB);
        assert!(!download.arrival.was_taken_back());
    }

    #[test]
    fn no_reader_outlasts_the_download() {
        let mut download = download();
        download.write(b"012", 3);
        let (reader, waiting) = (download.arrival.reader(), download.arrival.clone());
        let reading = thread::spawn(move || all_of(reader));
        let waiting = thread::spawn(move || waiting.whole());
        drop(download.feed);
        let failed = [
            reading.join().unwrap().unwrap_err(),
            waiting.join().unwrap().unwrap_err(),
        ];
        for error in failed {
            assert_eq!(error.to_string(), "it did not arrive");
        }
    }

    #[test]
    fn who_read_bytes_that_are_taken_back_is_told() {
        let mut download = download();
        download.write(b"wrong", 5);
        let (mut early, late) = (download.arrival.reader(), download.arrival.reader());
        early.read_exact(&mut [0; 2]).unwrap();
        download.feed.show(0);
        assert!(download.arrival.was_taken_back());
        download.file.set_len(0).unwrap();
        io::Seek::rewind(&mut download.file).unwrap();
        download.write(BLOB, 10);
        let error = early.read(&mut [0; 2]).unwrap_err();
        assert_eq!(error.to_string(), "its download began anew");
        assert_eq!(all_of(late).unwrap(), BLOB);
    }
}
