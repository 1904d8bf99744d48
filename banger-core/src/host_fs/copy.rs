//! Copies that keep holes: a reflink where the file system can, else only the
//! data between the holes.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
};

use camino::Utf8Path;
use rustix::{
    fs::{ioctl_ficlone, seek},
    io::Errno,
};

use super::{IoContext as _, PathError, nameless_file, write::create_directory};
use crate::{domain::DiskMethod, step::reached};

/// How a file was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyMethod {
    /// The file system shares the blocks: instant, no space taken.
    Reflink,
    /// Data was copied, holes were kept.
    Sparse,
}

impl From<CopyMethod> for DiskMethod {
    fn from(method: CopyMethod) -> Self {
        match method {
            CopyMethod::Reflink => Self::Reflink,
            CopyMethod::Sparse => Self::Copied,
        }
    }
}

/// Copies the regular file `from` to `to`, which must not exist; the mode's
/// permission bits come along, the content is synced.
pub fn copy_file(from: &Utf8Path, to: &Utf8Path) -> Result<CopyMethod, PathError> {
    let source = File::open(from).at("open", from)?;
    copy_open_file(&source, to, &|| false)
}

/// The same of a file that is open. `is_cancelled` is asked between pieces; a
/// copy that was given up leaves a part of `to`.
pub fn copy_open_file(
    source: &File,
    to: &Utf8Path,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<CopyMethod, PathError> {
    let metadata = source.metadata().at("inspect the source of", to)?;
    let mut target = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(metadata.permissions().mode() & 0o777)
        .open(to)
        .at("create", to)?;
    reached("made the file of a copy");
    let method = if ioctl_ficlone(&target, source).is_ok() {
        CopyMethod::Reflink
    } else {
        copy_data(source, &mut target, metadata.len(), is_cancelled).at("copy to", to)?;
        CopyMethod::Sparse
    };
    reached("copied a file");
    target.sync_all().at("sync", to)?;
    reached("flushed a copy");
    Ok(method)
}

/// Whether copies on the file system of `directory`, which must exist, share their
/// blocks with what they are made of.
pub(crate) fn shares_blocks(directory: &Utf8Path) -> Result<bool, PathError> {
    let mut source = nameless_file(directory)?;
    let content = [1; 4096];
    source.write_all(&content).at("write to", directory)?;
    let target = nameless_file(directory)?;
    Ok(ioctl_ficlone(&target, &source).is_ok())
}

fn copy_data(
    mut source: &File,
    target: &mut File,
    length: u64,
    is_cancelled: &dyn Fn() -> bool,
) -> io::Result<()> {
    target.set_len(length)?;
    let mut offset = 0;
    while let Some((start, end)) = next_data(source, offset, length)? {
        source.seek(SeekFrom::Start(start))?;
        target.seek(SeekFrom::Start(start))?;
        copy_exactly(source, target, end - start, is_cancelled)?;
        offset = end;
    }
    Ok(())
}

/// The next run of data at or after `offset`; file systems that cannot tell
/// holes report one run.
fn next_data(file: &File, offset: u64, length: u64) -> io::Result<Option<(u64, u64)>> {
    if length <= offset {
        return Ok(None);
    }
    match seek(file, rustix::fs::SeekFrom::Data(offset)) {
        Ok(start) => Ok(Some((
            start,
            seek(file, rustix::fs::SeekFrom::Hole(start))?,
        ))),
        Err(Errno::NXIO) => Ok(None),
        Err(Errno::INVAL) => Ok(Some((offset, length))),
        Err(error) => Err(error.into()),
    }
}

fn copy_exactly(
    mut source: &File,
    target: &mut File,
    length: u64,
    is_cancelled: &dyn Fn() -> bool,
) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    let mut left = length;
    while 0 < left {
        if is_cancelled() {
            return Err(io::Error::other("the copy was given up"));
        }
        let wanted = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let read = source.read(&mut buffer[..wanted])?;
        if read == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the source became shorter",
            ));
        }
        target.write_all(&buffer[..read])?;
        left -= read as u64;
    }
    Ok(())
}

/// Copies a directory tree of regular files, directories and symbolic links;
/// anything else is refused. `to` must not exist.
pub fn copy_tree(from: &Utf8Path, to: &Utf8Path) -> Result<(), PathError> {
    create_directory(to)?;
    for entry in from.read_dir_utf8().at("read directory", from)? {
        let entry = entry.at("read directory", from)?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type().at("inspect", entry.path())?;
        if kind.is_dir() {
            copy_tree(entry.path(), &target)?;
        } else if kind.is_symlink() {
            let link = fs::read_link(entry.path()).at("read link", entry.path())?;
            std::os::unix::fs::symlink(link, &target).at("create link", &target)?;
        } else if kind.is_file() {
            copy_file(entry.path(), &target)?;
        } else {
            let refusal =
                io::Error::new(io::ErrorKind::InvalidInput, "not a file, directory or link");
            return Err(PathError::new("copy", entry.path(), refusal));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt as _, MetadataExt as _};

    use super::*;

    #[test]
    fn holes_stay_holes_and_content_is_equal() {
        let scratch = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(scratch.path()).unwrap();
        let (from, to) = (root.join("from"), root.join("to"));
        let source = File::create(&from).unwrap();
        source.set_len(1 << 30).unwrap();
        source.write_all_at(b"head", 0).unwrap();
        source.write_all_at(b"tail", (1 << 29) + 5).unwrap();
        copy_file(&from, &to).unwrap();
        let copy = File::open(&to).unwrap();
        let metadata = copy.metadata().unwrap();
        assert_eq!(metadata.len(), 1 << 30);
        assert!(
            metadata.blocks() * 512 < 1 << 20,
            "{} blocks",
            metadata.blocks()
        );
        let mut tail = [0; 4];
        copy.read_exact_at(&mut tail, (1 << 29) + 5).unwrap();
        assert_eq!(&tail, b"tail");
    }

    #[test]
    fn an_existing_target_is_not_overwritten() {
        let scratch = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(scratch.path()).unwrap();
        fs::write(root.join("a"), "a").unwrap();
        fs::write(root.join("b"), "b").unwrap();
        assert!(copy_file(&root.join("a"), &root.join("b")).is_err());
        assert_eq!(fs::read_to_string(root.join("b")).unwrap(), "b");
    }

    #[test]
    fn trees_keep_links_and_refuse_sockets() {
        let scratch = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(scratch.path()).unwrap();
        fs::create_dir_all(root.join("tree/sub")).unwrap();
        fs::write(root.join("tree/sub/file"), "x").unwrap();
        std::os::unix::fs::symlink("sub/file", root.join("tree/link")).unwrap();
        copy_tree(&root.join("tree"), &root.join("copy")).unwrap();
        assert_eq!(fs::read_to_string(root.join("copy/link")).unwrap(), "x");
        assert!(
            fs::symlink_metadata(root.join("copy/link"))
                .unwrap()
                .is_symlink()
        );
        let _socket = std::os::unix::net::UnixListener::bind(root.join("tree/socket")).unwrap();
        assert!(copy_tree(&root.join("tree"), &root.join("again")).is_err());
    }
}
