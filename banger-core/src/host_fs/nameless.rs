//! Files without a name, which are gone with their last user.

use std::{
    fs::{self, File},
    os::unix::fs::OpenOptionsExt as _,
};

use camino::Utf8Path;
use rustix::fs::{CWD, Mode, OFlags, openat};

use super::{IoContext as _, PathError, write::create_directory};

/// A file without a name, on the file system of `directory`, which is made if
/// need be.
pub fn nameless_file(directory: &Utf8Path) -> Result<File, PathError> {
    create_directory(directory)?;
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match openat(CWD, directory.as_str(), flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => Ok(File::from(file)),
        // not every file system has such files
        Err(_) => unlinked_file(directory),
    }
}

fn unlinked_file(directory: &Utf8Path) -> Result<File, PathError> {
    let path = directory.join(format!("{}.unlinked", uuid::Uuid::now_v7()));
    let mut options = File::options();
    let options = options.read(true).write(true).create_new(true).mode(0o600);
    let file = options.open(&path).at("create", &path)?;
    fs::remove_file(&path).at("remove", &path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::host_fs::FileRange;

    #[test]
    fn spooled_files_have_no_name() {
        let scratch = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(scratch.path()).unwrap();
        for make in [nameless_file, unlinked_file] {
            let mut file = make(root).unwrap();
            file.write_all(b"content").unwrap();
            let range = FileRange::whole(file).unwrap();
            assert_eq!(range.read_at_most(9).unwrap(), b"content");
            assert_eq!(fs::read_dir(root).unwrap().count(), 0);
        }
    }
}
