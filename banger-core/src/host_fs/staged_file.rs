//! One file in the making: `<target>.partial`, locked while somebody writes
//! it, and renamed once it is whole.
//!
//! A crash leaves the partial file, which the next writer of the same target
//! takes over.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
};

use camino::{Utf8Path, Utf8PathBuf};
use rustix::{
    fs::{FlockOperation, OFlags, flock},
    io::Errno,
};

use super::{IoContext as _, PathError, publish_file, sync_directory};
use crate::step::reached;

/// Times that a file is looked for anew when others publish theirs meanwhile.
const ATTEMPTS: usize = 16;

/// A file being written. Dropping it removes it.
#[derive(Debug)]
pub struct StagedFile {
    file: File,
    path: Utf8PathBuf,
    target: Utf8PathBuf,
    is_published: bool,
}

impl StagedFile {
    /// Makes and locks the empty partial file of `target`; none when somebody
    /// else is writing it.
    pub fn create(target: &Utf8Path) -> Result<Option<Self>, PathError> {
        let path = Utf8PathBuf::from(format!("{target}.partial"));
        for _ in 0..ATTEMPTS {
            let file = open(&path)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(error) => return Err(PathError::new("lock", &path, error)),
            }
            // whoever had it may have renamed or removed it before it was locked
            if is_at(&file, &path)? {
                file.set_len(0).at("truncate", &path)?;
                reached("made a file in the making");
                return Ok(Some(Self {
                    file,
                    path,
                    target: target.to_owned(),
                    is_published: false,
                }));
            }
        }
        Ok(None)
    }

    /// Takes over the partial file of `target`, which is whole, from whoever
    /// made it by its name; none when somebody else has it.
    pub fn adopt(target: &Utf8Path) -> Result<Option<Self>, PathError> {
        let path = Utf8PathBuf::from(format!("{target}.partial"));
        let file = File::open(&path).at("open", &path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(PathError::new("lock", &path, error)),
        }
        Ok(is_at(&file, &path)?.then(|| Self {
            file,
            path,
            target: target.to_owned(),
            is_published: false,
        }))
    }

    /// Where to write.
    #[must_use]
    pub const fn file(&self) -> &File {
        &self.file
    }

    /// How the file is called until it is published.
    #[must_use]
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// Flushes the file and gives it its name, which must not be taken.
    pub fn publish(mut self) -> Result<(), PathError> {
        self.file.sync_all().at("sync", &self.path)?;
        reached("flushed a file in the making");
        publish_file(&self.path, &self.target)?;
        self.is_published = true;
        let parent = self.target.parent().filter(|parent| *parent != "");
        sync_directory(parent.unwrap_or_else(|| ".".into()))
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        if !self.is_published
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(%error, path = %self.path, "a file in the making is left behind");
        }
    }
}

fn open(path: &Utf8Path) -> Result<File, PathError> {
    let mut options = File::options();
    let options = options.read(true).write(true).create(true).truncate(false);
    let flags = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0);
    options.custom_flags(flags).open(path).at("create", path)
}

/// Whether `path` still is the name of `file`.
fn is_at(file: &File, path: &Utf8Path) -> Result<bool, PathError> {
    let ours = file.metadata().at("inspect", path)?;
    match fs::symlink_metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(PathError::new("inspect", path, error)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn one_writes_leftovers_are_taken_over_and_nothing_is_replaced() {
        let scratch = tempfile::tempdir().unwrap();
        let target = Utf8Path::from_path(scratch.path()).unwrap().join("file");
        fs::write(format!("{target}.partial"), "left by a crash").unwrap();
        let staged = StagedFile::create(&target).unwrap().unwrap();
        assert!(StagedFile::create(&target).unwrap().is_none());
        staged.file().write_all(b"whole").unwrap();
        staged.publish().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"whole");
        let late = StagedFile::create(&target).unwrap().unwrap();
        assert!(late.publish().is_err());
        assert_eq!(fs::read(&target).unwrap(), b"whole");
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
    }
}
