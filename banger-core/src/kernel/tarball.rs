//! Tar archives, entry by entry, over a blocking reader.
//!
//! Purpose: the parser is the one that layers are read with; this drives it
//! over a stream. Invariants: headers are bounded by the parser's limits,
//! content is never kept; an archive that ends early is an error.
//! Entry points: [`TarReader`].

use std::io::{self, Read};

use tar_core::parse::{Limits, ParseEvent, ParsedEntry, Parser};

/// Most bytes of headers held at once; above the parser's own limit.
const HEADERS_LIMIT: usize = 4 << 20;
const BLOCK: u64 = 512;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    File,
    Directory,
    Symlink,
    HardLink,
    /// A device, a fifo and the like.
    Other,
}

/// One entry's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TarEntry {
    /// The path as the archive has it.
    pub(crate) path: String,
    pub(crate) kind: EntryKind,
}

/// Reads an archive entry by entry; [`Read`] gives the present one's content.
pub(crate) struct TarReader<R> {
    source: R,
    parser: Parser,
    /// Bytes read ahead of the parser.
    ahead: Vec<u8>,
    content: u64,
    padding: u64,
}

/// What the parser says, without its borrow.
enum Step {
    Read(usize),
    Entry(usize, TarEntry, u64),
    Pass(usize),
    End,
}

impl<R: Read> TarReader<R> {
    pub(crate) fn new(source: R) -> Self {
        Self {
            source,
            parser: Parser::new(Limits::default()),
            ahead: Vec::new(),
            content: 0,
            padding: 0,
        }
    }

    /// Goes on to the next entry; none at the archive's end.
    pub(crate) fn next_entry(&mut self) -> Result<Option<TarEntry>, String> {
        self.skip_content()?;
        loop {
            match self.step()? {
                Step::Read(wanted) => self.read_ahead(wanted)?,
                Step::Pass(consumed) => drop(self.ahead.drain(..consumed)),
                Step::End => return Ok(None),
                Step::Entry(consumed, entry, size) => {
                    self.ahead.drain(..consumed);
                    self.content = size;
                    self.padding = (BLOCK - size % BLOCK) % BLOCK;
                    return Ok(Some(entry));
                }
            }
        }
    }

    /// Bytes of the present entry that were not read yet.
    pub(crate) const fn content_left(&self) -> u64 {
        self.content
    }

    /// What it read from; bytes that it read ahead are gone.
    pub(crate) fn into_inner(self) -> R {
        self.source
    }

    fn step(&mut self) -> Result<Step, String> {
        let event = self.parser.parse(&self.ahead);
        match event.map_err(|error| format!("its tar archive is damaged: {error}"))? {
            ParseEvent::NeedData { min_bytes } => Ok(Step::Read(min_bytes)),
            ParseEvent::Entry { consumed, entry } => {
                let (entry, size) = owned(&entry)?;
                Ok(Step::Entry(consumed, entry, size))
            }
            ParseEvent::SparseEntry { .. } => {
                Err("its tar archive holds a sparse file, which packages never do".to_owned())
            }
            ParseEvent::GlobalExtensions { consumed, .. } => Ok(Step::Pass(consumed)),
            ParseEvent::End { .. } => Ok(Step::End),
        }
    }

    fn read_ahead(&mut self, wanted: usize) -> Result<(), String> {
        let missing = wanted.saturating_sub(self.ahead.len()).max(1);
        if HEADERS_LIMIT < wanted {
            return Err("its tar archive's headers are too long".to_owned());
        }
        let read = (&mut self.source)
            .take(missing as u64)
            .read_to_end(&mut self.ahead)
            .map_err(|error| error.to_string())?;
        if read < missing {
            return Err("its tar archive ends early".to_owned());
        }
        Ok(())
    }

    fn skip_content(&mut self) -> Result<(), String> {
        self.content += std::mem::take(&mut self.padding);
        io::copy(self, &mut io::sink()).map_err(|error| error.to_string())?;
        Ok(())
    }
}

impl<R: Read> Read for TarReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.content)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        if wanted == 0 {
            return Ok(0);
        }
        let read = if self.ahead.is_empty() {
            self.source.read(&mut buffer[..wanted])?
        } else {
            let read = wanted.min(self.ahead.len());
            buffer[..read].copy_from_slice(&self.ahead[..read]);
            self.ahead.drain(..read);
            read
        };
        if read == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "its tar archive ends early",
            ));
        }
        self.content -= read as u64;
        Ok(read)
    }
}

fn owned(entry: &ParsedEntry<'_>) -> Result<(TarEntry, u64), String> {
    let kind = match entry {
        entry if entry.is_file() => EntryKind::File,
        entry if entry.is_dir() => EntryKind::Directory,
        entry if entry.is_symlink() => EntryKind::Symlink,
        entry if entry.is_hard_link() => EntryKind::HardLink,
        _ => EntryKind::Other,
    };
    let path = entry.path_lossy().into_owned();
    // room for the padding
    if u64::MAX - BLOCK < entry.size {
        return Err(format!("its tar entry {path} claims an impossible size"));
    }
    Ok((TarEntry { path, kind }, entry.size))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, path, *content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn read_all(archive: &[u8]) -> Result<Vec<(String, Vec<u8>)>, String> {
        let mut reader = TarReader::new(archive);
        let mut entries = Vec::new();
        while let Some(entry) = reader.next_entry()? {
            let mut content = Vec::new();
            reader
                .read_to_end(&mut content)
                .map_err(|error| error.to_string())?;
            entries.push((entry.path, content));
        }
        Ok(entries)
    }

    #[test]
    fn entries_come_back_with_long_names_and_without_reading_content() {
        let long = format!("{}file", "directory/".repeat(30));
        let large = vec![5; 100_000];
        let archive = archive(&[("a", b"content"), (&long, &large), ("empty", b"")]);
        let entries = read_all(&archive).unwrap();
        assert_eq!(entries[0], ("a".to_owned(), b"content".to_vec()));
        assert_eq!(entries[1].0, long);
        assert!(entries[1].1 == large, "content differs");
        assert_eq!(entries[2].1, b"");
        let mut reader = TarReader::new(&archive[..]);
        let mut count = 0;
        while reader.next_entry().unwrap().is_some() {
            count += 1;
        }
        assert_eq!(count, 3);
    }

    #[test]
    fn archives_that_end_early_are_refused() {
        let archive = archive(&[("a", b"content"), ("b", &[1; 600])]);
        for length in [0, 100, 512, 515, 1024, 1536, 1600, 2560] {
            assert!(
                read_all(&archive[..length]).is_err(),
                "{length} bytes passed"
            );
        }
    }

    #[test]
    fn a_long_name_of_a_gigabyte_is_refused() {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::GNULongName);
        header.set_path("././@LongLink").unwrap();
        header.set_size(1 << 30);
        header.set_cksum();
        let stream = header.as_bytes().chain(io::repeat(b'a'));
        assert!(TarReader::new(stream).next_entry().is_err());
    }
}
