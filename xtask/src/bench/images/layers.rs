//! What an overlay keeps, as a layer of the OCI image format.
//!
//! Invariants: a deletion, which the overlay keeps as a character device 0/0,
//! becomes a file `.wh.NAME`; a directory that hides those below it, which has
//! an attribute, gets a file `.wh..wh..opq` (image-spec, layer.md,
//! "Whiteouts"); times of directories stay as they were. Entry points:
//! [`archive`].

use std::{
    fs::{self, DirEntry, File, FileTimes, Metadata},
    io,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use crate::{
    Result,
    paths::failed_at,
    run::{command, run},
};

/// What overlayfs marks directories with that hide those below.
const OPAQUE: &str = "trusted.overlay.opaque";
const OPAQUE_MARKER: &str = ".wh..wh..opq";

/// Turns the directory that an overlay kept into a layer's archive beside it,
/// and removes it.
pub(super) fn archive(upper: &Path) -> Result<PathBuf> {
    mark(upper)?;
    let archive = upper.with_extension("tar");
    let options = [
        "--create",
        "--format=posix",
        "--numeric-owner",
        "--sort=name",
        "--sparse",
        "--acls",
        "--xattrs",
        "--xattrs-include=*",
        "--xattrs-exclude=trusted.overlay.*",
        "--pax-option=delete=atime,delete=ctime",
        "--file",
    ];
    run(command("tar", upper).args(options).arg(&archive).arg("."))?;
    fs::remove_dir_all(upper).map_err(failed_at(upper))?;
    Ok(archive)
}

/// Puts the layer format's markers below `directory`.
fn mark(directory: &Path) -> Result<()> {
    let failed = failed_at(directory);
    let before = fs::symlink_metadata(directory).map_err(&failed)?;
    for entry in entries(directory)? {
        mark_entry(&entry)?;
    }
    if is_opaque(directory) {
        File::create(directory.join(OPAQUE_MARKER)).map_err(&failed)?;
    }
    restore_times(directory, &before).map_err(&failed)
}

fn entries(directory: &Path) -> Result<Vec<DirEntry>> {
    let entries = fs::read_dir(directory).and_then(Iterator::collect);
    entries.map_err(failed_at(directory))
}

fn mark_entry(entry: &DirEntry) -> Result<()> {
    let path = entry.path();
    let metadata = fs::symlink_metadata(&path).map_err(failed_at(&path))?;
    if metadata.is_dir() {
        return mark(&path);
    }
    if !is_deletion(&metadata) {
        return Ok(());
    }
    fs::remove_file(&path).map_err(failed_at(&path))?;
    let marker = whiteout(&path);
    File::create(&marker).map(drop).map_err(failed_at(&marker))
}

fn is_deletion(metadata: &Metadata) -> bool {
    metadata.file_type().is_char_device() && metadata.rdev() == 0
}

fn whiteout(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".wh.");
    name.push(path.file_name().unwrap_or_default());
    path.with_file_name(name)
}

fn is_opaque(directory: &Path) -> bool {
    let mut value = [0; 1];
    rustix::fs::lgetxattr(directory, OPAQUE, &mut value).is_ok() && value == *b"y"
}

fn restore_times(directory: &Path, before: &Metadata) -> io::Result<()> {
    let times = FileTimes::new()
        .set_accessed(before.accessed()?)
        .set_modified(before.modified()?);
    File::open(directory)?.set_times(times)
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn a_deletion_is_named_after_what_it_deletes() {
        assert_eq!(whiteout(Path::new("a/b.c")), Path::new("a/.wh.b.c"));
    }

    #[test]
    fn times_of_a_directory_survive_its_marking() {
        let directory = crate::paths::target().join("tmp/xtask-layers");
        fs::create_dir_all(directory.join("below")).unwrap();
        let old = FileTimes::new().set_modified(std::time::UNIX_EPOCH);
        File::open(&directory).unwrap().set_times(old).unwrap();
        mark(&directory).unwrap();
        let metadata = fs::metadata(&directory).unwrap();
        assert_eq!(metadata.modified().unwrap(), std::time::UNIX_EPOCH);
        fs::remove_dir_all(&directory).unwrap();
    }
}
