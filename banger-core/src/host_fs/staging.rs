//! Directories in the making: locked while somebody works on them, removed
//! when the work is given up, renamed when it is whole.
//!
//! Invariants: `<target>.staging` exists only while its maker holds the lock
//! on it, or after the maker crashed; [`Staging::remove_abandoned`] tells the
//! two apart by the lock. Making and sweeping are serialised by the caller's
//! publish lock, so a directory is never swept between its making and its
//! locking.

use std::fs;

use camino::{Utf8Path, Utf8PathBuf};

use super::{
    FileLock, IoContext as _, PathError, children, create_directory, publish_file,
    remove_tree_if_present, sync_directory,
};
use crate::step::reached;

const SUFFIX: &str = "staging";

/// A directory being filled. Dropping it removes it.
#[derive(Debug)]
pub struct Staging {
    path: Utf8PathBuf,
    target: Utf8PathBuf,
    published: bool,
    _lock: FileLock,
}

impl Staging {
    /// Makes and locks `<target>.staging`. The caller holds the lock that
    /// sweepers of the same parent take.
    pub fn create(target: &Utf8Path) -> Result<Self, PathError> {
        if let Some(parent) = target.parent() {
            create_directory(parent)?;
        }
        let path = Self::path_for(target);
        fs::create_dir(&path).at("create directory", &path)?;
        reached("made a staging directory");
        match FileLock::try_acquire_existing(&path)? {
            Some(lock) => Ok(Self {
                path,
                target: target.to_owned(),
                published: false,
                _lock: lock,
            }),
            None => Err(PathError::new("lock", &path, rustix::io::Errno::WOULDBLOCK)),
        }
    }

    /// Where to put the files.
    #[must_use]
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// Where they will be once published.
    #[must_use]
    pub fn target(&self) -> &Utf8Path {
        &self.target
    }

    /// Flushes the directory and renames it to its target, which must not
    /// exist. The files in it must have been synced by whoever wrote them.
    pub fn publish(mut self) -> Result<(), PathError> {
        sync_directory(&self.path)?;
        publish_file(&self.path, &self.target)?;
        self.published = true;
        self.target.parent().map_or(Ok(()), sync_directory)
    }

    /// Where the files for `target` are put until it is published.
    #[must_use]
    pub fn path_for(target: &Utf8Path) -> Utf8PathBuf {
        Utf8PathBuf::from(format!("{target}.{SUFFIX}"))
    }

    /// Whether a file name is that of a directory in the making.
    #[must_use]
    pub fn is_staging_name(name: &str) -> bool {
        Utf8Path::new(name).extension() == Some(SUFFIX)
    }

    /// Removes every directory in the making below `parent` whose maker is
    /// gone, and answers their paths. The caller holds the publish lock.
    pub fn remove_abandoned(parent: &Utf8Path) -> Result<Vec<Utf8PathBuf>, PathError> {
        Self::remove_unused(parent, |_| Ok(false))
    }

    /// The same but for those in which somebody else is at work.
    pub(crate) fn remove_unused(
        parent: &Utf8Path,
        is_used: impl Fn(&Utf8Path) -> Result<bool, PathError>,
    ) -> Result<Vec<Utf8PathBuf>, PathError> {
        let mut removed = Vec::new();
        for path in children(parent)? {
            if !path.file_name().is_some_and(Self::is_staging_name) || is_used(&path)? {
                continue;
            }
            // a missing lock answer means its maker is at work
            if FileLock::try_acquire_existing(&path)?.is_some() {
                remove_tree_if_present(&path)?;
                removed.push(path);
            }
        }
        Ok(removed)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.published
            && let Err(error) = remove_tree_if_present(&self.path)
        {
            tracing::warn!(%error, "a staging directory is left for the next reconcile");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abandoned_directories_go_and_live_ones_stay() {
        let scratch = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(scratch.path()).unwrap();
        let live = Staging::create(&root.join("live")).unwrap();
        fs::create_dir(root.join("dead.staging")).unwrap();
        fs::create_dir(root.join("whole")).unwrap();
        assert_eq!(
            Staging::remove_abandoned(root).unwrap(),
            [root.join("dead.staging")]
        );
        assert!(live.path().exists() && root.join("whole").exists());
        live.publish().unwrap();
        assert!(root.join("live").exists() && !root.join("live.staging").exists());
    }

    #[test]
    fn a_dropped_directory_is_gone_and_a_taken_target_is_kept() {
        let scratch = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(scratch.path()).unwrap();
        drop(Staging::create(&root.join("one")).unwrap());
        assert_eq!(fs::read_dir(root).unwrap().count(), 0);
        let staging = Staging::create(&root.join("two")).unwrap();
        fs::create_dir(root.join("two")).unwrap();
        assert!(staging.publish().is_err());
        assert!(!root.join("two.staging").exists() && root.join("two").exists());
    }
}
