//! What a build takes from a host, packed, and a digest of all that it says.
//!
//! Purpose: whoever has the files packs them, and whoever has the machine builds:
//! here both, over a service two hosts. Invariants: a parcel is untrusted: it is read
//! with the limits of layers and goes to the guest as it is, nothing of it is unpacked
//! on this host; the digest is computed of the bytes that are sent, times left out.
//! Entry points: [`PackedProvision`], [`InputHasher`].

use std::io::{self, BufReader, Read, Seek as _, SeekFrom};

use camino::{Utf8Path, Utf8PathBuf};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::super::ProvisionParts;
use crate::{
    domain::Digest,
    host_fs::FileRange,
    layer::{Archive, ArchiveError, Entry, EntryKind, RootfsLimits, pass},
    oci::Delivery,
};

/// Bytes read from a parcel at once.
const BUFFER: usize = 1 << 18;
/// What a tar stream ends with: two blocks of zeros.
const END: u64 = 2 * BLOCK;
const BLOCK: u64 = 512;

/// What a build puts into an image, read from its files. Everything runs as root, in
/// `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedProvision {
    /// What of banger's own is installed: files of the host that builds.
    pub parts: ProvisionParts,
    /// Files and scripts, in order.
    pub inputs: Vec<PackedInput>,
    /// Commands for `sh -c`, after them.
    pub commands: Vec<String>,
}

/// A file, a directory or a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedInput {
    /// What it is called in messages: its path on the host that it is from.
    pub shown: Utf8PathBuf,
    /// What is done with it.
    pub kind: PackedKind,
    /// Its bytes.
    pub content: FileRange,
}

/// What is done with an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PackedKind {
    /// Its bytes are a tar stream, which is unpacked.
    Copy {
        /// An absolute path in the guest.
        destination: String,
        /// Whether the stream is the content of a directory, which belongs below the
        /// destination; else it is one file, which belongs beside it.
        is_directory: bool,
    },
    /// Its bytes are run: as their first line says, by `sh` when it says nothing.
    Script,
}

impl PackedProvision {
    /// The bytes of all inputs, one after the other; none when there are no inputs.
    #[must_use]
    pub fn delivery(&self) -> Option<Delivery> {
        let parts: Vec<FileRange> = self.inputs.iter().map(|one| one.content.clone()).collect();
        let path = Utf8Path::new("what was packed for the build");
        (!parts.is_empty()).then(|| Delivery::of_parts(path, parts))
    }
}

/// Why a parcel cannot be used, in words.
#[derive(Debug)]
pub(super) struct Unpackable(pub(super) String);

impl From<ArchiveError> for Unpackable {
    fn from(error: ArchiveError) -> Self {
        Self(error.to_string())
    }
}

impl From<io::Error> for Unpackable {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

/// Digest of fields that cannot run into one another.
#[derive(Debug, Default)]
pub(super) struct InputHasher(Sha256);

impl InputHasher {
    /// Adds a field.
    pub(super) fn field(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    /// Adds a file's content as a field.
    pub(super) fn content(&mut self, content: &FileRange) -> io::Result<()> {
        self.0.update(content.length().to_le_bytes());
        let mut reader = BufReader::with_capacity(BUFFER, content.reader());
        pass(&mut reader, content.length(), |piece| self.0.update(piece))
    }

    /// Adds what a parcel says, but for times. Refuses what [`super::Provision::pack`]
    /// does not make.
    pub(super) fn parcel(
        &mut self,
        parcel: &FileRange,
        cancel: &CancellationToken,
    ) -> Result<(), Unpackable> {
        check_end(parcel)?;
        let limits = RootfsLimits::default();
        let attended = Attended {
            reader: parcel.reader(),
            cancel,
        };
        let mut archive = Archive::new(BufReader::with_capacity(BUFFER, attended), &limits);
        let mut entries = 0;
        while let Some(entry) = archive.next_entry()? {
            entries += 1;
            if limits.entries < entries {
                return Err(Unpackable(format!(
                    "it has more than {} entries",
                    limits.entries
                )));
            }
            self.entry(&entry)?;
            archive.read_content(|piece| self.0.update(piece))?;
        }
        Ok(())
    }

    /// Adds what an entry is; its content comes next.
    fn entry(&mut self, entry: &Entry) -> Result<(), Unpackable> {
        let metadata = &entry.metadata;
        if (metadata.uid, metadata.gid) != (0, 0) || !entry.xattrs.is_empty() {
            return Err(unusable(entry, "is not root's, or has extended attributes"));
        }
        let kind: &[u8] = match &entry.kind {
            EntryKind::Directory => b"directory",
            EntryKind::Symlink(_) => b"link",
            EntryKind::File(content) if content.runs.is_none() => b"file",
            _ => return Err(unusable(entry, "is not a file, directory or link")),
        };
        self.field(kind);
        self.field(entry.path.as_bytes());
        self.field(&u32::from(metadata.mode).to_le_bytes());
        match &entry.kind {
            EntryKind::Symlink(target) => self.field(target),
            EntryKind::File(content) => self.0.update(content.size.to_le_bytes()),
            _ => {}
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Digest {
        Digest::from_bytes(self.0.finalize().into())
    }
}

fn unusable(entry: &Entry, problem: &str) -> Unpackable {
    let path = entry.path.as_bytes().escape_ascii();
    Unpackable(format!("{path} {problem}"))
}

/// Refuses a stream that ends without its mark: one that was cut.
fn check_end(parcel: &FileRange) -> Result<(), Unpackable> {
    let mut end = Vec::new();
    if let Some(start) = parcel.length().checked_sub(END) {
        let mut reader = parcel.reader();
        reader.seek(SeekFrom::Start(start))?;
        reader.take(END).read_to_end(&mut end)?;
    }
    let is_ended = !end.is_empty() && end.iter().all(|byte| *byte == 0);
    if !is_ended || !parcel.length().is_multiple_of(BLOCK) {
        return Err(Unpackable(
            "it is no tar stream, or not all of one".to_owned(),
        ));
    }
    Ok(())
}

/// Ends when nobody wants the bytes any more.
#[derive(Debug)]
struct Attended<'a, R> {
    reader: R,
    cancel: &'a CancellationToken,
}

impl<R: Read> Read for Attended<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other("the build was given up"));
        }
        self.reader.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of a parcel of one entry, which `change` changes.
    fn said(kind: tar::EntryType, change: impl FnOnce(&mut tar::Header)) -> Result<(), String> {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        change(&mut header);
        let mut archive = tar::Builder::new(Vec::new());
        archive.append_data(&mut header, "a", io::empty()).unwrap();
        hashed(&archive.into_inner().unwrap())
    }

    fn hashed(bytes: &[u8]) -> Result<(), String> {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, bytes).unwrap();
        let parcel = FileRange::whole(file).unwrap();
        let cancel = CancellationToken::new();
        let hashed = InputHasher::default().parcel(&parcel, &cancel);
        hashed.map_err(|Unpackable(problem)| problem)
    }

    #[test]
    fn what_nobody_packs_is_refused() {
        said(tar::EntryType::Regular, |_| {}).unwrap();
        let device = said(tar::EntryType::Char, |_| {}).unwrap_err();
        assert_eq!(device, "a is not a file, directory or link");
        let owned = said(tar::EntryType::Regular, |header| header.set_uid(7)).unwrap_err();
        assert!(owned.starts_with("a is not root's"), "{owned}");
    }

    #[test]
    fn what_is_cut_or_no_archive_is_refused() {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(3000);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        let content = [7; 3000];
        archive
            .append_data(&mut header, "file", &content[..])
            .unwrap();
        let whole = archive.into_inner().unwrap();
        hashed(&whole).unwrap();
        for length in [
            0,
            1,
            511,
            512,
            1024,
            3000,
            whole.len() - 1024,
            whole.len() - 1,
        ] {
            assert!(hashed(&whole[..length]).is_err(), "{length}");
        }
        // the end is there, and something before it is not
        let cut = [&whole[..1024], &[0; 1024][..]].concat();
        assert!(hashed(&cut).is_err());
        assert!(hashed(&[b"no archive at all".repeat(100), vec![0; 1024]].concat()).is_err());
    }
}
