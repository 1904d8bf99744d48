//! Files of a directory that somebody else filled.

use std::{fs::File, io, os::fd::OwnedFd};

use camino::Utf8Path;
use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::host_fs::{IoContext as _, PathError};

/// Opens the regular file `path` below `directory` for reading, following no
/// symbolic link below it. A pipe in its place is refused, not waited for.
pub(super) fn open_beneath(directory: &Utf8Path, path: &str) -> Result<File, PathError> {
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
