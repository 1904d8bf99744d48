//! The tar stream of a layer as entries (POSIX pax, GNU and old sparse forms).

use std::io::{BufRead, BufReader, Read, Seek};

use tar_core::{
    EntryType, PaxExtensions,
    parse::{Limits, ParseError, ParseEvent, ParsedEntry, Parser},
};

use super::{
    Content, Entry, EntryKind, LayerPath, LimitExceeded, Metadata, PathError, RootfsLimits,
    Stopped, Timestamp, Xattrs, sparse::checked_runs, xattr,
};

/// Longest symbolic link target (kernel, `PATH_MAX` without its NUL).
const MAX_LINK_TARGET: usize = 4095;
const BLOCK: u64 = 512;
/// Bytes of a path that errors show.
const SHOWN_PATH: usize = 512;

/// A layer cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The stream is damaged or not a tar stream.
    #[error("{0}")]
    Corrupt(String),
    /// A limit was exceeded.
    #[error("it exceeds the limit on {limit}")]
    Limit {
        /// Which.
        limit: LimitExceeded,
        /// The entry's path, escaped, where it is known.
        path: Option<String>,
    },
    /// One entry cannot be used.
    #[error("{path}: {problem}")]
    Entry {
        /// Its path, escaped.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// The caller gave the work up.
    #[error("cancelled")]
    Cancelled,
}

impl From<std::io::Error> for ArchiveError {
    fn from(error: std::io::Error) -> Self {
        let stopped = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<Stopped>());
        match stopped {
            Some(Stopped::Limit(limit)) => (*limit).into(),
            Some(Stopped::Cancelled) => Self::Cancelled,
            None if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                Self::Corrupt("the stream ends early".to_owned())
            }
            None => Self::Corrupt(error.to_string()),
        }
    }
}

impl From<LimitExceeded> for ArchiveError {
    fn from(limit: LimitExceeded) -> Self {
        Self::Limit { limit, path: None }
    }
}

/// Reads entries one after the other.
#[derive(Debug)]
pub struct Archive<R> {
    reader: R,
    parser: Parser,
    limits: RootfsLimits,
    /// Bytes read but not consumed; a whole entry's headers at most.
    buffer: Vec<u8>,
    /// Where the buffer starts in the inflated stream.
    position: u64,
    /// Bytes of the present entry's content that were not read yet.
    content: u64,
    /// Bytes after the content, up to the next header.
    padding: u64,
}

impl<R: BufRead> Archive<R> {
    /// Reads the entries of `reader`, which stands at its start.
    #[must_use]
    pub fn new(reader: R, limits: &RootfsLimits) -> Self {
        let mut parser = Parser::new(Limits {
            max_metadata_size: u32::try_from(limits.header_bytes).unwrap_or(u32::MAX),
            max_path_len: None,
            ..Limits::default()
        });
        // times before 1970 are no error; numbers that matter are checked here again
        parser.set_ignore_pax_errors(true);
        Self {
            reader,
            parser,
            limits: *limits,
            buffer: Vec::new(),
            position: 0,
            content: 0,
            padding: 0,
        }
    }

    /// The next entry, or none after the last. What was not read of the last
    /// one's content is passed over.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ArchiveError> {
        self.read_content(|_| ())?;
        self.pass_padding()?;
        loop {
            match self.step()? {
                Step::Entry(entry, content) => {
                    self.expect_content(content)?;
                    return Ok(Some(entry));
                }
                Step::More(bytes) if !self.fill(bytes)? => return Ok(None),
                Step::More(_) | Step::Nothing => {}
                Step::End => return Ok(None),
            }
        }
    }

    /// Hands the stored content of the entry last answered to `sink`, piece by
    /// piece.
    pub fn read_content(&mut self, sink: impl FnMut(&[u8])) -> Result<(), ArchiveError> {
        let content = std::mem::take(&mut self.content);
        self.pass(content, sink)
    }

    /// How much of the stream was read.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// The reader, to ask it why it failed.
    pub(crate) const fn reader_mut(&mut self) -> &mut R {
        &mut self.reader
    }

    /// The reader, which stands somewhere behind the last entry.
    #[must_use]
    pub fn into_reader(self) -> R {
        self.reader
    }

    fn step(&mut self) -> Result<Step, ArchiveError> {
        let event = self.parser.parse(&self.buffer).map_err(parse_error)?;
        let (step, consumed) = match event {
            ParseEvent::NeedData { min_bytes } => (Step::More(min_bytes), 0),
            ParseEvent::Entry { consumed, entry } => {
                let start = self.position + consumed as u64;
                let content = Content {
                    offset: start,
                    stored: entry.size,
                    size: entry.size,
                    runs: None,
                };
                (convert(&entry, content, &self.limits)?, consumed)
            }
            ParseEvent::SparseEntry {
                consumed,
                entry,
                sparse_map,
                real_size,
            } => {
                let start = self.position + consumed as u64;
                let runs = checked_runs(
                    sparse_map.iter().map(|run| (run.offset, run.length)),
                    real_size,
                );
                let stored = runs.iter().flatten().map(|run| run.length).sum::<u64>();
                if runs.is_none() || stored != entry.size {
                    return Err(unusable(
                        &entry.path,
                        "its sparse map does not fit its size",
                    ));
                }
                let content = Content {
                    offset: start,
                    stored,
                    size: real_size,
                    runs,
                };
                (convert(&entry, content, &self.limits)?, consumed)
            }
            ParseEvent::GlobalExtensions { consumed, .. } => (Step::Nothing, consumed),
            ParseEvent::End { consumed } => (Step::End, consumed),
        };
        self.buffer.drain(..consumed);
        self.position += consumed as u64;
        Ok(step)
    }

    /// Reads on until at least `bytes` are there; false at the end of a stream
    /// whose end marker is missing or cut, which many readers accept.
    fn fill(&mut self, bytes: usize) -> Result<bool, ArchiveError> {
        let ceiling = self.limits.header_bytes.saturating_mul(2) + (1 << 20);
        if ceiling < bytes {
            return Err(LimitExceeded::HeaderBytes(self.limits.header_bytes).into());
        }
        let filled = self.buffer.len();
        let missing = bytes.saturating_sub(filled).max(1);
        let mut rest = self.reader.by_ref().take(missing as u64);
        let read = rest.read_to_end(&mut self.buffer)?;
        if read == missing {
            return Ok(true);
        }
        if self.buffer.iter().all(|byte| *byte == 0) {
            return Ok(false);
        }
        Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into())
    }

    fn expect_content(&mut self, bytes: u64) -> Result<(), ArchiveError> {
        let padded = bytes.checked_next_multiple_of(BLOCK);
        let padded =
            padded.ok_or_else(|| ArchiveError::Corrupt("an entry claims 2^64 bytes".to_owned()))?;
        self.content = bytes;
        self.padding = padded - bytes;
        Ok(())
    }

    /// Passes over what fills an entry's last block. The last entry of a stream
    /// without an end marker may lack it, as those of `umoci insert` do.
    fn pass_padding(&mut self) -> Result<(), ArchiveError> {
        let padding = std::mem::take(&mut self.padding);
        let buffered = at_most(padding, self.buffer.len());
        self.buffer.drain(..buffered);
        let mut rest = self.reader.by_ref().take(padding - buffered as u64);
        self.position += buffered as u64 + std::io::copy(&mut rest, &mut std::io::sink())?;
        Ok(())
    }

    /// Hands the next bytes of the stream to `sink`.
    fn pass(&mut self, bytes: u64, mut sink: impl FnMut(&[u8])) -> Result<(), ArchiveError> {
        let buffered = at_most(bytes, self.buffer.len());
        sink(&self.buffer[..buffered]);
        self.buffer.drain(..buffered);
        pass(&mut self.reader, bytes - buffered as u64, sink)?;
        self.position += bytes;
        Ok(())
    }
}

impl<R: Read + Seek> Archive<BufReader<R>> {
    /// Goes past the content of the entry last answered without reading it. A
    /// stream that ends within the content is not noticed.
    pub(crate) fn skip_content(&mut self) -> Result<(), ArchiveError> {
        let content = std::mem::take(&mut self.content);
        let buffered = at_most(content, self.buffer.len());
        self.buffer.drain(..buffered);
        let ahead = i64::try_from(content - buffered as u64).unwrap_or(i64::MAX);
        self.reader.seek_relative(ahead)?;
        self.position = self.position.saturating_add(content);
        Ok(())
    }
}

/// Hands the next bytes of a reader to `sink`, piece by piece.
pub(crate) fn pass(
    reader: &mut impl BufRead,
    bytes: u64,
    mut sink: impl FnMut(&[u8]),
) -> std::io::Result<()> {
    let mut left = bytes;
    while left != 0 {
        let piece = reader.fill_buf()?;
        if piece.is_empty() {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let length = at_most(left, piece.len());
        sink(&piece[..length]);
        reader.consume(length);
        left -= length as u64;
    }
    Ok(())
}

/// The smaller of a length and what there is of it.
fn at_most(bytes: u64, available: usize) -> usize {
    usize::try_from(bytes).map_or(available, |bytes| bytes.min(available))
}

/// What the parser made of the buffer.
enum Step {
    /// An entry, and how many bytes of content follow.
    Entry(Entry, u64),
    Nothing,
    More(usize),
    End,
}

fn parse_error(error: ParseError) -> ArchiveError {
    match error {
        ParseError::MetadataTooLarge { limit, .. } => {
            LimitExceeded::HeaderBytes(limit as usize).into()
        }
        ParseError::TooManyPendingEntries { limit, .. } => LimitExceeded::Headers(limit).into(),
        ParseError::TooManySparseEntries { limit, .. } => LimitExceeded::SparsePieces(limit).into(),
        other => ArchiveError::Corrupt(other.to_string()),
    }
}

fn unusable(path: &[u8], problem: &str) -> ArchiveError {
    ArchiveError::Entry {
        path: shown(path),
        problem: problem.to_owned(),
    }
}

/// A path as errors name it: escaped, and not without end.
fn shown(path: &[u8]) -> String {
    let cut = path.len().min(SHOWN_PATH);
    let end = if cut < path.len() { "…" } else { "" };
    format!("{}{end}", path[..cut].escape_ascii())
}

fn exceeded(path: &[u8], limit: LimitExceeded) -> ArchiveError {
    ArchiveError::Limit {
        limit,
        path: Some(shown(path)),
    }
}

fn convert(
    parsed: &ParsedEntry<'_>,
    content: Content,
    limits: &RootfsLimits,
) -> Result<Step, ArchiveError> {
    let follows = content.stored;
    let pax = Pax::read(parsed, limits.xattr_bytes)?;
    let entry = Entry {
        path: layer_path(&parsed.path, &parsed.path, limits)?,
        kind: kind(parsed, content, limits)?,
        metadata: metadata(parsed, pax.mtime)?,
        xattrs: pax.xattrs,
    };
    Ok(Step::Entry(entry, follows))
}

fn layer_path(
    bytes: &[u8],
    entry: &[u8],
    limits: &RootfsLimits,
) -> Result<LayerPath, ArchiveError> {
    LayerPath::parse(bytes, limits).map_err(|error| match error {
        PathError::Limit(limit) => exceeded(entry, limit),
        other => unusable(entry, &other.to_string()),
    })
}

fn kind(
    parsed: &ParsedEntry<'_>,
    content: Content,
    limits: &RootfsLimits,
) -> Result<EntryKind, ArchiveError> {
    let target = || parsed.link_target.as_deref().unwrap_or_default();
    let device = || (parsed.dev_major.unwrap_or(0), parsed.dev_minor.unwrap_or(0));
    Ok(match parsed.entry_type {
        // before POSIX, a directory was a file whose name ends in a slash
        EntryType::Regular if parsed.path.ends_with(b"/") && content.size == 0 => {
            EntryKind::Directory
        }
        EntryType::Regular | EntryType::Continuous | EntryType::GnuSparse => {
            EntryKind::File(content)
        }
        EntryType::Directory => EntryKind::Directory,
        EntryType::Symlink => EntryKind::Symlink(symlink_target(parsed, target())?),
        EntryType::Link => EntryKind::HardLink(layer_path(target(), &parsed.path, limits)?),
        EntryType::Char => EntryKind::CharDevice {
            major: device().0,
            minor: device().1,
        },
        EntryType::Block => EntryKind::BlockDevice {
            major: device().0,
            minor: device().1,
        },
        EntryType::Fifo => EntryKind::Fifo,
        other => {
            return Err(unusable(
                &parsed.path,
                &format!("entries of type {other:?} are unknown"),
            ));
        }
    })
}

fn symlink_target(parsed: &ParsedEntry<'_>, target: &[u8]) -> Result<Vec<u8>, ArchiveError> {
    if target.is_empty() || MAX_LINK_TARGET < target.len() || target.contains(&0) {
        return Err(unusable(
            &parsed.path,
            "its link target is empty, too long or holds a NUL byte",
        ));
    }
    Ok(target.to_vec())
}

fn metadata(parsed: &ParsedEntry<'_>, mtime: Option<Timestamp>) -> Result<Metadata, ArchiveError> {
    let id = |id: u64| {
        u32::try_from(id).map_err(|_| unusable(&parsed.path, "its owner has more than 32 bits"))
    };
    let header_mtime = i64::try_from(parsed.mtime)
        .map_err(|_| unusable(&parsed.path, "its time is out of range"))?;
    Ok(Metadata {
        mode: u16::try_from(parsed.mode & 0o7777).unwrap_or_default(),
        uid: id(parsed.uid)?,
        gid: id(parsed.gid)?,
        mtime: mtime.unwrap_or(Timestamp {
            seconds: header_mtime,
            nanoseconds: 0,
        }),
    })
}

/// What the pax records of an entry add.
#[derive(Default)]
struct Pax {
    mtime: Option<Timestamp>,
    xattrs: Xattrs,
}

impl Pax {
    fn read(parsed: &ParsedEntry<'_>, xattr_bytes: usize) -> Result<Self, ArchiveError> {
        let mut pax = Self::default();
        for record in PaxExtensions::new(parsed.pax.unwrap_or_default()) {
            let record = record.map_err(|_| unusable(&parsed.path, "a pax record is malformed"))?;
            let value = record.value_bytes();
            match record.key_bytes() {
                b"mtime" => pax.mtime = Some(pax_time(parsed, value)?),
                b"uid" | b"gid" | b"size" => check_number(parsed, value)?,
                key => pax.add_xattr(key, value),
            }
        }
        let mut values = pax.xattrs.iter().map(|(_, value)| value.len());
        if values.any(|length| xattr_bytes < length) {
            let limit = LimitExceeded::XattrBytes(xattr_bytes);
            return Err(exceeded(&parsed.path, limit));
        }
        Ok(pax)
    }

    fn add_xattr(&mut self, key: &[u8], value: &[u8]) {
        let Some((name, value)) = xattr::from_pax(key, value) else {
            return;
        };
        self.xattrs.retain(|(other, _)| **other != *name);
        self.xattrs.push((name.into(), value.into()));
    }
}

fn pax_time(parsed: &ParsedEntry<'_>, value: &[u8]) -> Result<Timestamp, ArchiveError> {
    Timestamp::parse_pax(value).ok_or_else(|| unusable(&parsed.path, "its pax time is malformed"))
}

fn check_number(parsed: &ParsedEntry<'_>, value: &[u8]) -> Result<(), ArchiveError> {
    let number = std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse::<u64>().ok());
    number
        .map(drop)
        .ok_or_else(|| unusable(&parsed.path, "a pax number is malformed"))
}
