//! The files of a layout: those of a directory that somebody else filled, or
//! the members of an archive.

use std::{fmt, fs::File, io, os::fd::OwnedFd};

use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::{CWD, Mode, OFlags, openat};

use super::{LayerBytes, members::Members};
use crate::host_fs::{FileRange, IoContext as _, PathError};

/// Regular files by their paths in a layout.
pub(super) trait LayoutFiles: fmt::Debug + Send + Sync {
    /// What holds the files, for messages.
    fn kind(&self) -> &'static str;

    /// Whether there is anything.
    fn exists(&self) -> bool;

    /// Opens the regular file `path`.
    fn open(&self, path: &str) -> Result<FileRange, PathError>;

    /// Where a reader finds the file, which was `opened`, later on: its path,
    /// or the open file itself where that has no path of its own.
    fn place(&self, path: &str, opened: FileRange) -> (Utf8PathBuf, LayerBytes);
}

/// A layout that is a directory.
#[derive(Debug)]
pub(super) struct DirectoryFiles(pub(super) Utf8PathBuf);

impl LayoutFiles for DirectoryFiles {
    fn kind(&self) -> &'static str {
        "directory"
    }

    fn exists(&self) -> bool {
        self.0.is_dir()
    }

    fn open(&self, path: &str) -> Result<FileRange, PathError> {
        let file = open_beneath(&self.0, path)?;
        FileRange::whole(file).at("inspect", &self.0.join(path))
    }

    /// An image may have more layers than a process may have open files.
    fn place(&self, path: &str, _: FileRange) -> (Utf8PathBuf, LayerBytes) {
        (self.0.join(path), LayerBytes::File)
    }
}

/// A layout inside an archive.
#[derive(Debug)]
pub(super) struct ArchivedFiles {
    /// What the archive is or was.
    pub(super) kind: &'static str,
    pub(super) path: Utf8PathBuf,
    pub(super) members: Members,
}

impl LayoutFiles for ArchivedFiles {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn exists(&self) -> bool {
        true
    }

    fn open(&self, path: &str) -> Result<FileRange, PathError> {
        self.members.find(path).at("open", &self.path.join(path))
    }

    fn place(&self, path: &str, opened: FileRange) -> (Utf8PathBuf, LayerBytes) {
        (self.path.join(path), LayerBytes::Range(opened))
    }
}

/// Opens the regular file `path` below `directory` for reading, following no
/// symbolic link below it. A pipe in its place is refused, not waited for.
fn open_beneath(directory: &Utf8Path, path: &str) -> Result<File, PathError> {
    let whole = directory.join(path);
    let (parents, name) = path.rsplit_once('/').unwrap_or(("", path));
    let mut parent =
        open_directory(CWD, directory.as_str(), OFlags::empty()).at("open", directory)?;
    for component in parents.split('/').filter(|component| !component.is_empty()) {
        parent = open_directory(&parent, component, OFlags::NOFOLLOW).at("open", &whole)?;
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(openat(&parent, name, flags, Mode::empty()).at("open", &whole)?);
    if file.metadata().at("inspect", &whole)?.is_file() {
        return Ok(file);
    }
    let refusal = io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file");
    Err(PathError::new("open", &whole, refusal))
}

fn open_directory(
    parent: impl std::os::fd::AsFd,
    name: &str,
    extra: OFlags,
) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | extra;
    openat(parent, name, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Read as _, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn only_regular_files_without_links_are_opened() {
        let scratch = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(scratch.path()).unwrap();
        fs::create_dir_all(root.join("real/inner")).unwrap();
        fs::write(root.join("real/inner/file"), "content").unwrap();
        symlink("real", root.join("link")).unwrap();
        symlink("inner", root.join("real/linked")).unwrap();
        symlink("file", root.join("real/inner/alias")).unwrap();
        let pipe = root.join("real/inner/pipe");
        rustix::fs::mkfifoat(CWD, pipe.as_str(), Mode::RUSR).unwrap();

        let mut content = String::new();
        let through_link = open_beneath(&root.join("link"), "inner/file");
        through_link.unwrap().read_to_string(&mut content).unwrap();
        assert_eq!(content, "content", "the directory itself may be a link");
        for path in [
            "linked/file",
            "inner/alias",
            "inner/pipe",
            "inner",
            "absent",
        ] {
            assert!(open_beneath(&root.join("real"), path).is_err(), "{path}");
        }
    }
}
