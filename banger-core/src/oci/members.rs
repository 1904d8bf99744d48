//! The members of an archive file, found in one pass over its headers.
//!
//! Purpose: reading members in place; nothing is ever unpacked.
//! Invariants: memory is bounded whatever the archive claims; only regular
//! files are read, each wholly within the archive; links are followed inside
//! the archive alone. Entry points: [`Members`].

use std::{
    collections::{HashMap, hash_map::Entry as Slot},
    io::{self, BufReader},
};

use tokio_util::sync::CancellationToken;

use super::problem::Problem;
use crate::{
    host_fs::FileRange,
    layer::{Archive, ArchiveError, Content, Entry, EntryKind, LayerPath, RootfsLimits},
};

/// Most members of an archive. With [`MAX_NAME`], the index has 64 MiB of names.
const MAX_MEMBERS: usize = 1 << 16;
/// Longest name of a member.
const MAX_NAME: usize = 1024;
/// Most bytes of one member's extended headers.
const MAX_HEADERS: usize = 1 << 16;
/// How many links may lead to one another.
const MAX_LINKS: usize = 8;
/// Bytes of headers read at once.
const READ_SIZE: usize = 1 << 14;

/// Which of several members of one name is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Duplicates {
    /// The first, as where readers search the archive.
    First,
    /// The last, as where readers unpack it.
    Last,
}

/// An archive and where its members are.
#[derive(Debug)]
pub(super) struct Members {
    archive: FileRange,
    by_name: HashMap<Vec<u8>, Member>,
}

#[derive(Debug)]
enum Member {
    File(FileRange),
    /// The name it leads to, from the archive's root.
    Link(Vec<u8>),
    /// Nothing that can be read.
    Other(&'static str),
}

impl Members {
    /// Reads the headers of `archive`, a plain tar file.
    pub(super) fn read(
        archive: FileRange,
        duplicates: Duplicates,
        cancel: &CancellationToken,
    ) -> Result<Self, Problem> {
        let mut members = Self {
            archive,
            by_name: HashMap::new(),
        };
        let reader = BufReader::with_capacity(READ_SIZE, members.archive.reader());
        let mut entries = Archive::new(reader, &limits());
        while let Some(entry) = entries.next_entry().map_err(unreadable)? {
            // nobody is left to hear of it
            if cancel.is_cancelled() {
                return Err(unreadable(ArchiveError::Cancelled));
            }
            members.add(&entry, duplicates)?;
            entries.skip_content().map_err(unreadable)?;
        }
        Ok(members)
    }

    fn add(&mut self, entry: &Entry, duplicates: Duplicates) -> Result<(), Problem> {
        if self.by_name.len() == MAX_MEMBERS {
            let problem = format!("it has more than {MAX_MEMBERS} members");
            return Err(Problem::Limit(problem));
        }
        let member = self.member(entry)?;
        match self.by_name.entry(entry.path.as_bytes().to_vec()) {
            Slot::Vacant(slot) => {
                slot.insert(member);
            }
            Slot::Occupied(mut slot) if duplicates == Duplicates::Last => {
                slot.insert(member);
            }
            Slot::Occupied(_) => {}
        }
        Ok(())
    }

    fn member(&self, entry: &Entry) -> Result<Member, Problem> {
        Ok(match &entry.kind {
            EntryKind::File(content) => self.file(&entry.path, content)?,
            EntryKind::Symlink(target) => symlink(&entry.path, target),
            EntryKind::HardLink(target) => Member::Link(target.as_bytes().to_vec()),
            _ => Member::Other("it is not a regular file"),
        })
    }

    fn file(&self, path: &LayerPath, content: &Content) -> Result<Member, Problem> {
        let range = self.archive.part(content.offset, content.stored);
        let range = range.ok_or_else(|| {
            let problem = format!(
                "it ends within its member {path:?}",
                path = path.to_string()
            );
            Problem::Malformed(problem)
        })?;
        Ok(match content.runs {
            None => Member::File(range),
            Some(_) => Member::Other("it is a sparse file"),
        })
    }

    /// The bytes of the regular file `name`, perhaps behind links.
    pub(super) fn find(&self, name: &str) -> io::Result<FileRange> {
        let path = LayerPath::parse(name.as_bytes(), &limits());
        let path = path.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let mut name = path.as_bytes();
        for _ in 0..=MAX_LINKS {
            match self.by_name.get(name) {
                None => return Err(io::ErrorKind::NotFound.into()),
                Some(Member::File(range)) => return Ok(range.clone()),
                Some(Member::Link(target)) => name = target,
                Some(Member::Other(what)) => return Err(refusal(what)),
            }
        }
        Err(refusal("too many links lead to one another"))
    }
}

fn refusal(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

fn limits() -> RootfsLimits {
    RootfsLimits {
        path_bytes: MAX_NAME,
        header_bytes: MAX_HEADERS,
        ..RootfsLimits::default()
    }
}

fn symlink(link: &LayerPath, target: &[u8]) -> Member {
    let inside = target_inside(link, target).filter(|name| name.len() <= MAX_NAME);
    inside.map_or(
        Member::Other("it is a link that leads out of the archive"),
        Member::Link,
    )
}

/// The name that a relative target means; none when it leaves the root.
fn target_inside(link: &LayerPath, target: &[u8]) -> Option<Vec<u8>> {
    let (parent, _) = link.split()?;
    if target.starts_with(b"/") {
        return None;
    }
    let mut components: Vec<&[u8]> = parent.split(|byte| *byte == b'/').collect();
    components.retain(|component| !component.is_empty());
    for component in target.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => drop(components.pop()?),
            name => components.push(name),
        }
    }
    Some(components.join(&b'/'))
}

/// What is wrong with an archive whose headers cannot be read.
pub(super) fn unreadable(error: ArchiveError) -> Problem {
    match error {
        ArchiveError::Limit { limit, path: None } => {
            Problem::Limit(format!("it exceeds the limit on {limit}"))
        }
        ArchiveError::Limit {
            limit,
            path: Some(path),
        } => Problem::Limit(format!("its member {path:?} exceeds the limit on {limit}")),
        ArchiveError::Entry { path, problem } => {
            Problem::Malformed(format!("its member {path:?} cannot be used: {problem}"))
        }
        ArchiveError::Corrupt(problem) => {
            Problem::Malformed(format!("it is not a whole tar archive: {problem}"))
        }
        ArchiveError::Cancelled => Problem::Malformed("the work was given up".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Write as _};

    use super::*;

    /// One member of an archive made here; links have a target.
    type Given<'a> = (&'a str, Result<&'a [u8], &'a str>);

    fn archive(members: &[Given<'_>]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, content) in members {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            match content {
                Ok(bytes) => {
                    header.set_size(bytes.len() as u64);
                    builder.append_data(&mut header, name, *bytes).unwrap();
                }
                Err(target) => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    header.set_size(0);
                    builder.append_link(&mut header, name, target).unwrap();
                }
            }
        }
        builder.into_inner().unwrap()
    }

    fn file(bytes: &[u8]) -> FileRange {
        let mut file: File = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        FileRange::whole(file).unwrap()
    }

    fn read(bytes: &[u8], duplicates: Duplicates) -> Result<Members, Problem> {
        Members::read(file(bytes), duplicates, &CancellationToken::new())
    }

    fn text(members: &Members, name: &str) -> String {
        let bytes = members.find(name).unwrap().read_at_most(100).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn members_are_found_by_name_and_through_links() {
        let big = vec![b'x'; 100_000];
        let bytes = archive(&[
            ("./a", Ok(b"one")),
            ("big", Ok(&big)),
            ("x/layer.tar", Ok(b"layer")),
            ("y/layer.tar", Err("../x/layer.tar")),
            ("z", Err("./y/../y/layer.tar")),
        ]);
        let members = read(&bytes, Duplicates::First).unwrap();
        for (name, content) in [("a", "one"), ("y/layer.tar", "layer"), ("./z", "layer")] {
            assert_eq!(text(&members, name), content, "{name}");
        }
        assert_eq!(members.find("big").unwrap().length(), 100_000);
        let absent = members.find("b").unwrap_err();
        assert_eq!(absent.kind(), io::ErrorKind::NotFound);
        assert!(members.find("../a").is_err());
    }

    #[test]
    fn links_neither_leave_the_archive_nor_lead_in_circles() {
        let bytes = archive(&[
            ("a", Err("b")),
            ("b", Err("a")),
            ("up", Err("../a")),
            ("absolute", Err("/etc/passwd")),
            ("d/deep", Err("../../x")),
        ]);
        let members = read(&bytes, Duplicates::First).unwrap();
        for name in ["a", "up", "absolute", "d/deep"] {
            let refused = members.find(name).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput, "{name}");
        }
    }

    #[test]
    fn of_members_of_one_name_the_wanted_one_is_read() {
        let bytes = archive(&[("a", Ok(b"first")), ("./a", Ok(b"last"))]);
        for (duplicates, content) in [(Duplicates::First, "first"), (Duplicates::Last, "last")] {
            assert_eq!(text(&read(&bytes, duplicates).unwrap(), "a"), content);
        }
    }

    #[test]
    fn what_is_cut_or_no_archive_is_refused() {
        let whole = archive(&[("a", Ok(&[7; 4000])), ("b", Ok(b"b"))]);
        for length in [100, 600, 4000] {
            let cut = read(&whole[..length], Duplicates::First);
            assert!(matches!(cut, Err(Problem::Malformed(_))), "{length}");
        }
        let noise = read(&[b'x'; 5000], Duplicates::First);
        assert!(matches!(noise, Err(Problem::Malformed(_))), "{noise:?}");
    }

    #[test]
    fn members_beyond_the_limit_are_refused() {
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        header.set_entry_type(tar::EntryType::Regular);
        let mut bytes = Vec::new();
        for number in 0..=MAX_MEMBERS {
            header.set_path(format!("{number}")).unwrap();
            header.set_cksum();
            bytes.extend_from_slice(header.as_bytes());
        }
        let refused = read(&bytes, Duplicates::First);
        assert!(matches!(refused, Err(Problem::Limit(_))));
    }
}
