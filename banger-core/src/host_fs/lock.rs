//! Advisory locks between processes (flock(2)).
//!
//! A lock belongs to the open file description: it ends when every process
//! that has the descriptor closed it or died, and it can be handed to a child.

use std::{
    fs::{File, OpenOptions},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use camino::{Utf8Path, Utf8PathBuf};
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use super::{IoContext as _, PathError, write::create_directory};
use crate::error::ErrorKind;

/// How long to wait for a lock that is only ever held for moments.
#[must_use]
pub const fn lock_deadline() -> Duration {
    Duration::from_secs(30)
}

/// A lock could not be taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Somebody else held it until the deadline.
    #[error("{path} stayed locked by another process for {waited:?}")]
    TimedOut {
        /// The lock's file.
        path: Utf8PathBuf,
        /// How long was waited.
        waited: Duration,
    },
    /// The lock's file cannot be used.
    #[error(transparent)]
    Io(#[from] PathError),
}

impl LockError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::TimedOut { .. } => ErrorKind::Timeout,
            Self::Io(error) => error.kind(),
        }
    }
}

/// A lock, exclusive unless it is a share, held until dropped.
#[derive(Debug)]
pub struct FileLock {
    file: OwnedFd,
}

impl FileLock {
    /// Takes the lock on `path` (made if missing, never removed), or answers
    /// none at once when somebody holds it.
    pub fn try_acquire(path: &Utf8Path) -> Result<Option<Self>, PathError> {
        Self::try_lock(open_lock_file(path)?, path)
    }

    /// Takes the lock on an existing directory or file, or answers none at
    /// once when somebody holds it.
    pub fn try_acquire_existing(path: &Utf8Path) -> Result<Option<Self>, PathError> {
        Self::try_lock(File::open(path).at("open", path)?, path)
    }

    /// Takes a share of the lock on an existing file, which several may have at
    /// a time and which excludes the lock itself, or answers none at once when
    /// somebody holds that.
    pub fn try_share_existing(path: &Utf8Path) -> Result<Option<Self>, PathError> {
        let file = File::open(path).at("open", path)?;
        Self::try_operation(file, path, FlockOperation::NonBlockingLockShared)
    }

    fn try_lock(file: File, path: &Utf8Path) -> Result<Option<Self>, PathError> {
        Self::try_operation(file, path, FlockOperation::NonBlockingLockExclusive)
    }

    fn try_operation(
        file: File,
        path: &Utf8Path,
        operation: FlockOperation,
    ) -> Result<Option<Self>, PathError> {
        match flock(&file, operation) {
            Ok(()) => Ok(Some(Self { file: file.into() })),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(PathError::new("lock", path, error)),
        }
    }

    /// Takes the lock on `path`, waiting until `deadline` has passed.
    /// Cancelling the future gives the wait up.
    pub async fn acquire(path: &Utf8Path, deadline: Duration) -> Result<Self, LockError> {
        let waiting = async {
            let mut pause = Duration::from_millis(1);
            loop {
                if let Some(lock) = Self::try_acquire(path)? {
                    return Ok::<_, LockError>(lock);
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(50));
            }
        };
        tokio::time::timeout(deadline, waiting)
            .await
            .unwrap_or_else(|_| {
                Err(LockError::TimedOut {
                    path: path.to_owned(),
                    waited: deadline,
                })
            })
    }

    /// The lock that a parent process handed over as an open descriptor.
    #[must_use]
    pub const fn from_inherited(file: OwnedFd) -> Self {
        Self { file }
    }
}

impl From<FileLock> for OwnedFd {
    /// The descriptor whose closing frees the lock.
    fn from(lock: FileLock) -> Self {
        lock.file
    }
}

impl AsFd for FileLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn open_lock_file(path: &Utf8Path) -> Result<File, PathError> {
    if let Some(parent) = path.parent() {
        create_directory(parent)?;
    }
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .at("open lock file", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_held_lock_times_out_and_a_freed_one_is_taken() {
        let scratch = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(scratch.path())
            .unwrap()
            .join("locks/one");
        let held = FileLock::try_acquire(&path).unwrap().unwrap();
        assert!(FileLock::try_acquire(&path).unwrap().is_none());
        let error = FileLock::acquire(&path, Duration::from_secs(1))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        drop(held);
        FileLock::acquire(&path, Duration::from_secs(1))
            .await
            .unwrap();
    }

    #[test]
    fn shares_go_together_and_exclude_the_lock() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = Utf8Path::from_path(file.path()).unwrap();
        let one = FileLock::try_share_existing(path).unwrap().unwrap();
        let other = FileLock::try_share_existing(path).unwrap().unwrap();
        assert!(FileLock::try_acquire_existing(path).unwrap().is_none());
        drop((one, other));
        let whole = FileLock::try_acquire_existing(path).unwrap();
        assert!(whole.is_some());
        assert!(FileLock::try_share_existing(path).unwrap().is_none());
    }
}
