//! Looking into ext4 disks without mounting them.
//!
//! Purpose: list, read and compare what is on a disk. Invariants: nothing is
//! written; a disk is untrusted: what it says is bounded, and damage is an
//! error. Work holds up its thread.
//! Entry points: [`DiskReader`], [`differences`], [`compare`].

mod diff;
mod error;
mod file;
pub(crate) mod volume;
mod walk;

use camino::{Utf8Path, Utf8PathBuf};
use ext4_view::{Ext4, FileType, Metadata, PathBuf};

pub use diff::{Change, Difference, compare, differences};
pub use error::DiskError;
pub use file::DiskFile;
pub use walk::{Walk, WalkOptions};

/// Most entries that one listing answers.
const MAX_ENTRIES: usize = 4_000_000;
/// Deepest directory that is listed: deeper ones are loops.
const MAX_DEPTH: usize = 2048;
/// Bytes of a file that are read at once.
const READ_SIZE: usize = 1 << 20;

/// An ext4 disk, open for reading.
#[derive(Debug)]
pub struct DiskReader {
    file_system: Ext4,
    file: Utf8PathBuf,
}

/// Something on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskEntry {
    /// Its path from the root, beginning with a slash.
    pub path: Vec<u8>,
    /// Its type.
    pub kind: EntryType,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size in bytes.
    pub size: u64,
    /// Seconds since 1970-01-01 UTC, and nanoseconds, of its last change.
    pub modified: (i64, u32),
    /// What a symbolic link says.
    pub target: Option<Vec<u8>>,
}

/// The type of something on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryType {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

impl EntryType {
    /// Its letter in a listing (ls(1)).
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::Directory => 'd',
            Self::File => '-',
            Self::Symlink => 'l',
            Self::CharDevice => 'c',
            Self::BlockDevice => 'b',
            Self::Fifo => 'p',
            Self::Socket => 's',
        }
    }

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::File => "file",
            Self::Symlink => "symlink",
            Self::CharDevice => "character device",
            Self::BlockDevice => "block device",
            Self::Fifo => "fifo",
            Self::Socket => "socket",
        }
    }
}

impl From<FileType> for EntryType {
    fn from(kind: FileType) -> Self {
        match kind {
            FileType::Directory => Self::Directory,
            FileType::Regular => Self::File,
            FileType::Symlink => Self::Symlink,
            FileType::CharacterDevice => Self::CharDevice,
            FileType::BlockDevice => Self::BlockDevice,
            FileType::Fifo => Self::Fifo,
            FileType::Socket => Self::Socket,
        }
    }
}

impl DiskReader {
    /// Opens the disk in `file`.
    pub fn open(file: &Utf8Path) -> Result<Self, DiskError> {
        let loaded = Ext4::load_from_path(file.as_std_path());
        Ok(Self {
            file_system: loaded.map_err(|error| DiskError::of(file, None, error))?,
            file: file.to_owned(),
        })
    }

    /// What is at `path`. Symbolic links among its parents are followed; the
    /// last component is not, unless a slash comes after it.
    pub fn entry(&self, path: &[u8]) -> Result<DiskEntry, DiskError> {
        let failed = |error| self.failed(path, error);
        let wanted = self.path(path)?;
        let follows = path.ends_with(b"/");
        let metadata = if follows {
            self.file_system.metadata(&wanted)
        } else {
            self.file_system.symlink_metadata(&wanted)
        };
        self.describe(wanted.as_ref(), &metadata.map_err(failed)?)
    }

    /// What is in the directory at `path`, by name; anything else is answered
    /// alone. With `recursive`, all below it too, parents first.
    pub fn list(&self, path: &[u8], recursive: bool) -> Result<Vec<DiskEntry>, DiskError> {
        let options = WalkOptions {
            recursive,
            ..WalkOptions::default()
        };
        self.walk(path, options)?.collect()
    }

    /// The same one after the other, in the order of the paths' bytes.
    pub fn walk(&self, path: &[u8], options: WalkOptions) -> Result<Walk<'_>, DiskError> {
        Walk::inside(self, path, options)
    }

    /// The file at `path`, to be read. A symbolic link is followed.
    pub fn open_file(&self, path: &[u8]) -> Result<DiskFile<'_>, DiskError> {
        DiskFile::open(self, path)
    }

    /// Hands a file's content to `sink`, piece by piece, holes as zeros. A
    /// symbolic link is followed. `sink` answers whether to go on.
    pub fn read(&self, path: &[u8], mut sink: impl FnMut(&[u8]) -> bool) -> Result<(), DiskError> {
        let mut file = self.open_file(path)?;
        let mut buffer = vec![0; READ_SIZE];
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 || !sink(&buffer[..read]) {
                return Ok(());
            }
        }
    }

    fn directory(&self, path: &[u8]) -> Result<Vec<DiskEntry>, DiskError> {
        let failed = |error| self.failed(path, error);
        let mut entries = Vec::new();
        for entry in self
            .file_system
            .read_dir(&self.path(path)?)
            .map_err(failed)?
        {
            let entry = entry.map_err(failed)?;
            let whole = entry.path();
            if matches!(
                whole.as_ref().rsplit(|byte| *byte == b'/').next(),
                Some(b"." | b"..")
            ) {
                continue;
            }
            let metadata = entry.metadata().map_err(failed)?;
            entries.push(self.describe(whole.as_ref(), &metadata)?);
            if MAX_ENTRIES < entries.len() {
                return Err(DiskError::TooMuch {
                    disk: self.file.clone(),
                });
            }
        }
        entries.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(entries)
    }

    fn describe(&self, path: &[u8], metadata: &Metadata) -> Result<DiskEntry, DiskError> {
        let kind = EntryType::from(metadata.file_type());
        let target = match kind {
            EntryType::Symlink => {
                let target = self.file_system.read_link(&self.path(path)?);
                let target = target.map_err(|error| self.failed(path, error))?;
                Some(target.as_ref().to_vec())
            }
            _ => None,
        };
        let modified = metadata.modified();
        Ok(DiskEntry {
            path: path.to_vec(),
            kind,
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
            size: metadata.len(),
            modified: (modified.seconds(), modified.nanoseconds()),
            target,
        })
    }

    /// A path as the reader wants it: absolute, without a slash at its end.
    fn path(&self, path: &[u8]) -> Result<PathBuf, DiskError> {
        let names = path.split(|byte| *byte == b'/');
        let names: Vec<&[u8]> = names.filter(|name| !name.is_empty()).collect();
        let absolute = [b"/", names.join(&b'/').as_slice()].concat();
        let made = PathBuf::try_from(absolute.as_slice());
        made.map_err(|_| self.failed(path, ext4_view::Ext4Error::MalformedPath))
    }

    fn failed(&self, path: &[u8], error: ext4_view::Ext4Error) -> DiskError {
        DiskError::of(&self.file, Some(path), error)
    }
}
