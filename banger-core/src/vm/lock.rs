//! The lock on a VM's directory: its holder is the VM's one writer.
//!
//! Invariants: the lock never makes a directory; whoever took it reads the
//! VM's record again, because the former holder may have removed the VM.
//! Entry points: [`take`], [`is_held`], [`keep`].

use std::{fs::File, time::Duration};

use camino::Utf8Path;
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use crate::host_fs::{FileLock, PathError};

/// How long a caller waits for another call on the same VM.
const PATIENCE: Duration = Duration::from_secs(2);
/// Time between two tries.
const PAUSE: Duration = Duration::from_millis(10);

/// What trying to take a VM's lock gave.
#[derive(Debug)]
pub(super) enum Taken {
    /// It is ours.
    Ours(FileLock),
    /// Somebody else holds it.
    Held,
    /// The VM has no directory.
    NoDirectory,
}

/// Takes a VM's lock if nobody holds it now.
pub(super) fn try_take(directory: &Utf8Path) -> Result<Taken, PathError> {
    match FileLock::try_acquire_existing(directory) {
        Ok(Some(lock)) => Ok(Taken::Ours(lock)),
        Ok(None) => Ok(Taken::Held),
        Err(error) if error.io_error().kind() == std::io::ErrorKind::NotFound => {
            Ok(Taken::NoDirectory)
        }
        Err(error) => Err(error),
    }
}

/// Takes a VM's lock, waiting a moment for a call that is about to end.
pub(super) async fn take(directory: &Utf8Path) -> Result<Taken, PathError> {
    take_within(directory, PATIENCE).await
}

/// Takes a VM's lock, waiting up to `patience`.
pub(super) async fn take_within(
    directory: &Utf8Path,
    patience: Duration,
) -> Result<Taken, PathError> {
    let trying = async {
        loop {
            match try_take(directory)? {
                Taken::Held => tokio::time::sleep(PAUSE).await,
                taken => return Ok(taken),
            }
        }
    };
    tokio::time::timeout(patience, trying)
        .await
        .unwrap_or(Ok(Taken::Held))
}

/// Takes the lock on a file in a VM's directory, made if missing, waiting a
/// moment: it keeps the VM for as long as it lives, whoever is its writer
/// meanwhile.
pub(super) async fn keep(file: &Utf8Path) -> Result<Taken, PathError> {
    let mut options = File::options();
    options.write(true).create(true).truncate(false);
    match options.open(file) {
        Ok(_) => take(file).await,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Taken::NoDirectory),
        Err(error) => Err(PathError::new("open lock file", file, error)),
    }
}

/// Whether somebody holds the lock on a VM's directory or on a file in it.
/// Askers do not hinder one another.
pub(super) fn is_held(path: &Utf8Path) -> Result<bool, PathError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(PathError::new("open", path, error)),
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(Errno::WOULDBLOCK) => Ok(true),
        Err(error) => Err(PathError::new("lock", path, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lock_is_ours_held_or_without_a_directory() {
        let scratch = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(scratch.path()).unwrap();
        let Taken::Ours(lock) = take(root).await.unwrap() else {
            panic!("the lock is free");
        };
        assert!(is_held(root).unwrap());
        assert!(matches!(take(root).await.unwrap(), Taken::Held));
        drop(lock);
        assert!(!is_held(root).unwrap());
        let missing = root.join("missing");
        assert!(matches!(take(&missing).await.unwrap(), Taken::NoDirectory));
        assert!(!is_held(&missing).unwrap() && !missing.exists());
    }
}
