//! The archive format of Debian packages (ar(5), deb(5)).
//!
//! Purpose: walk an archive's members without seeking. Invariants: a member's
//! claimed length is checked against the archive's before it is used.
//! Entry points: [`ArReader`].

use std::io::{self, Read};

const MAGIC: &[u8; 8] = b"!<arch>\n";
const HEADER_LENGTH: usize = 60;
const HEADER_END: &[u8] = b"`\n";

/// One member's name and length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) length: u64,
}

/// Reads an archive member by member.
#[derive(Debug)]
pub(crate) struct ArReader<R> {
    source: R,
    /// Bytes of the archive not read yet.
    left: u64,
    /// Unread content of the present member, and its padding.
    content: u64,
    padding: u64,
}

impl<R: Read> ArReader<R> {
    /// Starts on an archive of `length` bytes.
    pub(crate) fn new(mut source: R, length: u64) -> Result<Self, String> {
        let mut magic = [0; MAGIC.len()];
        source
            .read_exact(&mut magic)
            .map_err(|error| unread(&error))?;
        if &magic != MAGIC {
            return Err("it is not an ar archive".to_owned());
        }
        Ok(Self {
            source,
            left: length.saturating_sub(MAGIC.len() as u64),
            content: 0,
            padding: 0,
        })
    }

    /// Goes on to the next member; none at the archive's end.
    pub(crate) fn next_member(&mut self) -> Result<Option<Member>, String> {
        self.skip_content()?;
        if self.left == 0 {
            return Ok(None);
        }
        let mut header = [0; HEADER_LENGTH];
        self.source
            .read_exact(&mut header)
            .map_err(|error| unread(&error))?;
        self.left = self.left.saturating_sub(HEADER_LENGTH as u64);
        let member = parse_header(&header)?;
        if self.left < member.length {
            return Err(format!(
                "its member {} claims more bytes than the archive has",
                member.name
            ));
        }
        self.content = member.length;
        // the last member's padding may be missing
        self.padding = (member.length % 2).min(self.left - member.length);
        Ok(Some(member))
    }

    /// The rest of the present member's content, and nothing behind it.
    pub(crate) fn into_content(self) -> io::Take<R> {
        self.source.take(self.content)
    }

    fn skip_content(&mut self) -> Result<(), String> {
        let length = self.content + self.padding;
        let skipped = io::copy(&mut (&mut self.source).take(length), &mut io::sink())
            .map_err(|error| unread(&error))?;
        if skipped < length {
            return Err("it ends early".to_owned());
        }
        self.left -= length;
        (self.content, self.padding) = (0, 0);
        Ok(())
    }
}

impl<R: Read> Read for ArReader<R> {
    /// Reads the present member's content.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = (&mut self.source).take(self.content).read(buffer)?;
        self.content -= read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

fn parse_header(header: &[u8; HEADER_LENGTH]) -> Result<Member, String> {
    let damaged = || "a member's header is damaged".to_owned();
    if !header.ends_with(HEADER_END) {
        return Err(damaged());
    }
    let field = |range: std::ops::Range<usize>| {
        let text = std::str::from_utf8(&header[range]).ok();
        text.map(|text| text.trim_end_matches(' '))
    };
    let name = field(0..16).ok_or_else(damaged)?;
    let length = field(48..58).ok_or_else(damaged)?;
    if length.is_empty() || !length.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(damaged());
    }
    Ok(Member {
        // GNU ar ends names with a slash
        name: name.strip_suffix('/').unwrap_or(name).to_owned(),
        length: length.parse().map_err(|_| damaged())?,
    })
}

fn unread(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "it ends early".to_owned(),
        _ => error.to_string(),
    }
}

/// Archives made for tests.
#[cfg(test)]
pub(crate) mod fixture {
    /// An archive of these members.
    pub(crate) fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut archive = super::MAGIC.to_vec();
        for (name, content) in members {
            archive.extend(header(name, &content.len().to_string()));
            archive.extend(*content);
            if content.len() % 2 == 1 {
                archive.push(b'\n');
            }
        }
        archive
    }

    /// A header with this text as its length.
    pub(crate) fn header(name: &str, length: &str) -> Vec<u8> {
        format!(
            "{name:<16}{:<12}{:<6}{:<6}{:<8}{length:<10}`\n",
            0, 0, 0, 100_644
        )
        .into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_all(archive: &[u8]) -> Result<Vec<(String, Vec<u8>)>, String> {
        let mut reader = ArReader::new(archive, archive.len() as u64)?;
        let mut members = Vec::new();
        while let Some(member) = reader.next_member()? {
            let mut content = Vec::new();
            reader.read_to_end(&mut content).unwrap();
            members.push((member.name, content));
        }
        Ok(members)
    }

    #[test]
    fn members_come_back_padded_and_not() {
        let archive =
            fixture::archive(&[("debian-binary", b"2.0\n"), ("odd/", b"odd"), ("x", b"")]);
        let members = read_all(&archive).unwrap();
        let names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["debian-binary", "odd", "x"]);
        assert_eq!(members[1].1, b"odd");
    }

    #[test]
    fn members_can_be_passed_over() {
        let archive = fixture::archive(&[("one", b"12345"), ("two", b"content")]);
        let mut reader = ArReader::new(&archive[..], archive.len() as u64).unwrap();
        reader.next_member().unwrap();
        reader.next_member().unwrap();
        let mut content = String::new();
        reader.into_content().read_to_string(&mut content).unwrap();
        assert_eq!(content, "content");
    }

    #[test]
    fn hostile_archives_are_refused() {
        for length in ["9999999999", "11", "-1", "1 2", "+1", "0x1", ""] {
            let mut archive = MAGIC.to_vec();
            archive.extend(fixture::header("data.tar", length));
            archive.extend(b"ten bytes.");
            assert!(
                read_all(&archive).is_err(),
                "length {length:?} was accepted"
            );
        }
        let archive = fixture::archive(&[("a", b"even")]);
        for length in [0, 7, 30, 67, 70] {
            assert!(
                read_all(&archive[..length]).is_err(),
                "{length} bytes passed"
            );
        }
        assert!(read_all(b"!<arch>?").is_err());
    }

    proptest! {
        #[test]
        fn damaged_archives_never_panic(position in 0_usize..140, value: u8) {
            let mut archive = fixture::archive(&[("one", b"12345"), ("two", b"content")]);
            let position = position % archive.len();
            archive[position] = value;
            drop(read_all(&archive));
        }
    }
}
