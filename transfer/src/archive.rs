//! The entries of a tar stream (POSIX pax, GNU and both forms of sparse files).
//!
//! Invariants: headers are bounded before they are kept, paths before they are
//! looked at; a stream that ends within an entry is an error.

use std::io::{self, Read};

use tar_core::{
    EntryType, PaxExtensions,
    parse::{Limits as ParserLimits, ParseError, ParseEvent, ParsedEntry, Parser},
};

use super::{
    Limits, TransferError,
    header::{Attribute, BLOCK, Time, parse_time},
};

/// One entry without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) path: Vec<u8>,
    pub(crate) kind: Kind,
    /// Permission bits with set-id and sticky.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) modified: Time,
    pub(crate) attributes: Vec<Attribute>,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File(Layout),
    /// What it points to.
    Symlink(Vec<u8>),
    /// The path of the entry it is another name of.
    HardLink(Vec<u8>),
    Fifo,
    CharDevice(u32, u32),
    BlockDevice(u32, u32),
}

/// Where a file's stored bytes belong: pieces in order, and holes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Offset and length of each piece.
    pub(crate) pieces: Vec<(u64, u64)>,
    /// The file's length.
    pub(crate) size: u64,
}

/// Reads entries one after the other; [`Read`] gives the present one's stored
/// content.
pub(crate) struct Archive<R> {
    source: R,
    parser: Parser,
    limits: Limits,
    /// Bytes read ahead of the parser.
    ahead: Vec<u8>,
    content: u64,
    padding: u64,
}

/// What the parser says, without its borrow.
enum Step {
    Read(usize),
    Entry(usize, Entry, u64),
    Pass(usize),
    End,
}

impl<R: Read> Archive<R> {
    pub(crate) fn new(source: R, limits: Limits) -> Self {
        let mut parser = Parser::new(ParserLimits {
            max_metadata_size: limits.headers,
            max_path_len: None,
            ..ParserLimits::default()
        });
        // times before 1970 are no error, and what matters is checked here
        parser.set_ignore_pax_errors(true);
        parser.set_allow_empty_path(true);
        Self {
            source,
            parser,
            limits,
            ahead: Vec::new(),
            content: 0,
            padding: 0,
        }
    }

    /// Goes on to the next entry; none at the archive's end.
    pub(crate) fn next_entry(&mut self) -> Result<Option<Entry>, TransferError> {
        self.skip_content()?;
        loop {
            match self.step()? {
                Step::Read(wanted) if !self.read_ahead(wanted)? => return Ok(None),
                Step::Read(_) => {}
                Step::Pass(consumed) => drop(self.ahead.drain(..consumed)),
                Step::End => return Ok(None),
                Step::Entry(consumed, entry, stored) => {
                    self.ahead.drain(..consumed);
                    self.content = stored;
                    self.padding = (BLOCK - stored % BLOCK) % BLOCK;
                    return Ok(Some(entry));
                }
            }
        }
    }

    /// Reads what follows the end: whoever writes the stream is not cut off.
    pub(crate) fn drain(&mut self) -> Result<(), TransferError> {
        io::copy(&mut self.source, &mut io::sink()).map_err(TransferError::Stream)?;
        Ok(())
    }

    fn step(&mut self) -> Result<Step, TransferError> {
        let event = self.parser.parse(&self.ahead).map_err(damaged)?;
        match event {
            ParseEvent::NeedData { min_bytes } => Ok(Step::Read(min_bytes)),
            ParseEvent::Entry { consumed, entry } => {
                let layout = Layout {
                    pieces: vec![(0, entry.size)],
                    size: entry.size,
                };
                owned(&entry, layout, &self.limits)
                    .map(|converted| Step::Entry(consumed, converted, entry.size))
            }
            ParseEvent::SparseEntry {
                consumed,
                entry,
                sparse_map,
                real_size,
            } => {
                let layout = Layout {
                    pieces: sparse_map
                        .iter()
                        .map(|run| (run.offset, run.length))
                        .collect(),
                    size: real_size,
                };
                check_layout(&layout, &entry)?;
                owned(&entry, layout, &self.limits)
                    .map(|converted| Step::Entry(consumed, converted, entry.size))
            }
            ParseEvent::GlobalExtensions { consumed, .. } => Ok(Step::Pass(consumed)),
            ParseEvent::End { .. } => Ok(Step::End),
        }
    }

    /// False at the end of a stream without an end marker, as many accept it.
    fn read_ahead(&mut self, wanted: usize) -> Result<bool, TransferError> {
        let most = (self.limits.headers as usize).saturating_mul(2) + (1 << 20);
        if most < wanted {
            return Err(corrupt("its headers are too long"));
        }
        let missing = wanted.saturating_sub(self.ahead.len()).max(1);
        let mut source = self.source.by_ref().take(missing as u64);
        let read = source.read_to_end(&mut self.ahead);
        if read.map_err(TransferError::Stream)? == missing {
            return Ok(true);
        }
        if self.ahead.iter().all(|byte| *byte == 0) {
            return Ok(false);
        }
        Err(corrupt("it ends within an entry"))
    }

    fn skip_content(&mut self) -> Result<(), TransferError> {
        let padding = std::mem::take(&mut self.padding);
        self.pass()?;
        self.content = padding;
        self.pass()
    }

    fn pass(&mut self) -> Result<(), TransferError> {
        io::copy(self, &mut io::sink()).map_err(stream_error)?;
        Ok(())
    }
}

impl<R: Read> Read for Archive<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.content).unwrap_or(usize::MAX);
        let wanted = left.min(buffer.len());
        let Some(buffer) = buffer.get_mut(..wanted).filter(|part| !part.is_empty()) else {
            return Ok(0);
        };
        let read = if self.ahead.is_empty() {
            self.source.read(buffer)?
        } else {
            let read = self.ahead.as_slice().read(buffer)?;
            self.ahead.drain(..read);
            read
        };
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.content -= read as u64;
        Ok(read)
    }
}

/// What a failure to read an entry's content means.
pub(crate) fn stream_error(error: io::Error) -> TransferError {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return corrupt("it ends within an entry");
    }
    TransferError::Stream(error)
}

fn corrupt(problem: &str) -> TransferError {
    TransferError::Archive {
        problem: problem.to_owned(),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` wants")]
fn damaged(error: ParseError) -> TransferError {
    corrupt(&error.to_string())
}

/// Pieces must be in order, within the file, and as long as what is stored.
fn check_layout(layout: &Layout, entry: &ParsedEntry<'_>) -> Result<(), TransferError> {
    let mut at = 0;
    let mut stored = 0_u64;
    let fits = layout.pieces.iter().all(|(offset, length)| {
        let end = offset.checked_add(*length);
        let fits = at <= *offset && end.is_some_and(|end| end <= layout.size);
        at = end.unwrap_or(u64::MAX);
        stored = stored.saturating_add(*length);
        fits
    });
    if fits && stored == entry.size {
        return Ok(());
    }
    Err(TransferError::entry(
        &entry.path,
        "its sparse map does not fit its size",
    ))
}

fn owned(entry: &ParsedEntry<'_>, layout: Layout, limits: &Limits) -> Result<Entry, TransferError> {
    let path = entry.path.to_vec();
    super::names::check_length(&path, limits)?;
    if limits.content < layout.size || limits.content < entry.size {
        return Err(TransferError::limit(
            &path,
            limits.content,
            "bytes of content",
        ));
    }
    let number = |number: u64| {
        // the last one says "unchanged"
        let number = u32::try_from(number)
            .ok()
            .filter(|number| *number != u32::MAX);
        number.ok_or_else(|| TransferError::entry(&path, "its owner is no number of Linux"))
    };
    Ok(Entry {
        kind: kind(entry, layout, limits)?,
        mode: entry.mode & 0o7777,
        uid: number(entry.uid)?,
        gid: number(entry.gid)?,
        modified: modified(entry),
        attributes: attributes(entry),
        path,
    })
}

fn kind(entry: &ParsedEntry<'_>, layout: Layout, limits: &Limits) -> Result<Kind, TransferError> {
    let unusable = |problem| TransferError::entry(&entry.path, problem);
    let target = || {
        let target = entry.link_target.as_deref().unwrap_or_default();
        super::names::check_length(target, limits)?;
        if target.is_empty() || target.contains(&0) {
            return Err(unusable("it is a link to nothing"));
        }
        Ok(target.to_vec())
    };
    let device = || (entry.dev_major.unwrap_or(0), entry.dev_minor.unwrap_or(0));
    // archives older than ustar mark a directory by its last slash alone
    let marked = entry.path.ends_with(b"/");
    Ok(match entry.entry_type {
        EntryType::Directory => Kind::Directory,
        EntryType::Regular if marked && layout.size == 0 => Kind::Directory,
        EntryType::Regular | EntryType::Continuous | EntryType::GnuSparse => Kind::File(layout),
        EntryType::Symlink => Kind::Symlink(target()?),
        EntryType::Link => Kind::HardLink(target()?),
        EntryType::Fifo => Kind::Fifo,
        EntryType::Char => Kind::CharDevice(device().0, device().1),
        EntryType::Block => Kind::BlockDevice(device().0, device().1),
        _ => return Err(unusable("it is of a kind that is not known")),
    })
}

/// To the nanosecond where a pax record says so.
fn modified(entry: &ParsedEntry<'_>) -> Time {
    let records = entry.pax.map(PaxExtensions::new).into_iter().flatten();
    let told = records
        .flatten()
        .filter(|record| record.key_bytes() == b"mtime")
        .filter_map(|record| parse_time(str::from_utf8(record.value_bytes()).ok()?))
        .last();
    told.unwrap_or_else(|| (i64::try_from(entry.mtime).unwrap_or(i64::MAX), 0))
}

fn attributes(entry: &ParsedEntry<'_>) -> Vec<Attribute> {
    let pairs = entry.xattrs.iter();
    pairs
        .map(|(name, value)| (name.to_vec(), value.to_vec()))
        .collect()
}
