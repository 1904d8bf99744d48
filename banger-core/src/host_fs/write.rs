//! Writing and removing host files so that a crash leaves nothing half made.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
};

use camino::{Utf8Path, Utf8PathBuf};

use super::{IoContext as _, PathError, children};
use crate::{domain::Bytes, step::reached};

/// Replaces the file at `path` by one with `content`: written beside it,
/// synced, renamed, and the directory synced.
pub fn write_atomically(path: &Utf8Path, content: &[u8]) -> Result<(), PathError> {
    let temporary = temporary_beside(path);
    let written = write_and_sync(&temporary, content).and_then(|()| {
        reached("wrote a file beside its place");
        fs::rename(&temporary, path).at("rename into place", path)
    });
    if written.is_err() {
        // the error being returned matters more than a leftover of ours
        drop(fs::remove_file(&temporary));
    }
    written?;
    reached("put a file in its place");
    path.parent().map_or(Ok(()), sync_directory)
}

/// A name beside `path` that no other file has.
pub(crate) fn temporary_beside(path: &Utf8Path) -> Utf8PathBuf {
    let name = path.file_name().unwrap_or("file");
    path.with_file_name(format!(".{name}.{}.tmp", uuid::Uuid::now_v7().simple()))
}

fn write_and_sync(path: &Utf8Path, content: &[u8]) -> Result<(), PathError> {
    let mut file = File::create_new(path).at("create", path)?;
    file.write_all(content).at("write", path)?;
    file.sync_all().at("sync", path)
}

/// Flushes a file's content and metadata to disk.
pub fn sync_file(path: &Utf8Path) -> Result<(), PathError> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .at("sync", path)
}

/// Flushes a directory's entries to disk.
pub fn sync_directory(path: &Utf8Path) -> Result<(), PathError> {
    sync_file(path)?;
    reached("flushed a directory");
    Ok(())
}

/// Creates a directory and its parents; existing ones are fine.
pub fn create_directory(path: &Utf8Path) -> Result<(), PathError> {
    fs::create_dir_all(path).at("create directory", path)
}

/// Creates a directory (mode 0700) and its parents, and refuses an existing
/// one that belongs to somebody else or that others may enter.
pub fn create_private_directory(path: &Utf8Path) -> Result<(), PathError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .at("create directory", path)?;
    let metadata = fs::symlink_metadata(path).at("inspect", path)?;
    let ours = metadata.is_dir()
        && metadata.uid() == rustix::process::geteuid().as_raw()
        && metadata.mode() & 0o077 == 0;
    if ours {
        return Ok(());
    }
    let refusal = io::Error::new(
        io::ErrorKind::PermissionDenied,
        "it is not a directory that only the present user may enter",
    );
    Err(PathError::new("use as a private directory", path, refusal))
}

/// Renames a file or directory to a name that must not exist.
pub fn publish_file(path: &Utf8Path, target: &Utf8Path) -> Result<(), PathError> {
    rustix::fs::renameat_with(
        rustix::fs::CWD,
        path.as_std_path(),
        rustix::fs::CWD,
        target.as_std_path(),
        rustix::fs::RenameFlags::NOREPLACE,
    )
    .at("publish", target)?;
    reached("gave a file its name");
    Ok(())
}

/// Removes a file or a whole directory; one that is not there is fine.
pub fn remove_tree_if_present(path: &Utf8Path) -> Result<(), PathError> {
    reached("about to remove a tree");
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => remove_directory(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(PathError::new("remove", path, error))
        }
        _ => {
            reached("removed a tree");
            Ok(())
        }
    }
}

/// Removes a directory entry by entry; somebody else may be at it, too.
fn remove_directory(path: &Utf8Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let removed = if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())
        } else {
            fs::remove_file(entry.path())
        };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => reached("removed a part of a tree"),
        }
    }
    fs::remove_dir(path)
}

/// The bytes a file takes on the host's disk.
pub fn disk_usage(path: &Utf8Path) -> Result<Bytes, PathError> {
    let metadata = fs::metadata(path).at("inspect", path)?;
    Ok(Bytes::new(metadata.blocks() * 512))
}

/// The same of the files in a directory.
pub(crate) fn directory_usage(path: &Utf8Path) -> Result<Bytes, PathError> {
    let files = children(path)?;
    let sizes = files.iter().map(|file| disk_usage(file).map(Bytes::get));
    Ok(Bytes::new(sizes.sum::<Result<u64, _>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_directory_of_others_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(scratch.path()).unwrap();
        create_private_directory(&root.join("mine/run")).unwrap();
        create_private_directory(&root.join("mine/run")).unwrap();
        let open = root.join("open");
        DirBuilder::new().mode(0o755).create(&open).unwrap();
        let error = create_private_directory(&open).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::PermissionDenied);
    }

    #[test]
    fn a_tree_is_removed_with_what_it_holds_and_nothing_that_it_names() {
        let scratch = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(scratch.path()).unwrap();
        let (tree, kept) = (root.join("tree"), root.join("kept"));
        fs::create_dir_all(tree.join("deep/deeper")).unwrap();
        fs::create_dir(&kept).unwrap();
        for file in [tree.join("deep/file"), tree.join("file"), kept.join("file")] {
            fs::write(file, "").unwrap();
        }
        std::os::unix::fs::symlink(&kept, tree.join("link")).unwrap();
        remove_tree_if_present(&tree).unwrap();
        remove_tree_if_present(&tree).unwrap();
        assert!(!tree.exists());
        remove_tree_if_present(&kept.join("file")).unwrap();
        assert_eq!(fs::read_dir(&kept).unwrap().count(), 0);
    }

    #[test]
    fn atomic_writes_replace_and_leave_nothing_else() {
        let scratch = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(scratch.path())
            .unwrap()
            .join("manifest.json");
        write_atomically(&path, b"one").unwrap();
        write_atomically(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
    }
}
