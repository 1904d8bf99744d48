//! Which blobs of the cache are in use by whom.
//!
//! A lease is a file that names blobs, locked by its maker for as long as it
//! needs them. Invariants: leases are made, and looked at before blobs are
//! removed, under one lock, which is held for moments; so nobody removes a
//! blob between its being found in the cache and its being read. A lease whose
//! maker died is not locked, and is removed by whoever looks.
//! Entry points: [`CacheLease`], [`leased_blobs`], [`sweep_leases`].

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{Read as _, Write as _},
};

use camino::{Utf8Path, Utf8PathBuf};

use crate::{
    directories::Directories,
    domain::Digest,
    host_fs::{FileLock, IoContext as _, LockError, PathError, create_directory, lock_deadline},
    step::reached,
};

/// Largest lease that is read: thousands of blobs.
const MAX_LEASE: u64 = 1 << 20;

/// Blobs that stay in the cache until this is dropped.
#[derive(Debug)]
pub(crate) struct CacheLease {
    path: Utf8PathBuf,
    _lock: FileLock,
}

impl CacheLease {
    /// Leases blobs, whether they are there or not.
    pub(crate) async fn take(
        directories: &Directories,
        blobs: impl IntoIterator<Item = Digest>,
    ) -> Result<Self, LockError> {
        let lines: Vec<String> = blobs.into_iter().map(|blob| format!("{blob}\n")).collect();
        let _gate = lease_gate(directories).await?;
        let parent = directories.leases();
        create_directory(&parent)?;
        let path = parent.join(uuid::Uuid::now_v7().to_string());
        let mut file = File::create_new(&path).at("create", &path)?;
        reached("made the file of a lease");
        let lock = FileLock::try_acquire_existing(&path)?;
        let taken = || PathError::new("lock", &path, rustix::io::Errno::WOULDBLOCK);
        let lease = Self {
            _lock: lock.ok_or_else(taken)?,
            path: path.clone(),
        };
        let written = file.write_all(lines.concat().as_bytes());
        written.at("write", &path)?;
        reached("took a lease");
        Ok(lease)
    }
}

impl Drop for CacheLease {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(%error, "a lease of the cache is left for the next reconcile");
        }
    }
}

/// The right to make leases, or to remove what nobody leased.
pub(crate) async fn lease_gate(directories: &Directories) -> Result<FileLock, LockError> {
    let path = directories.leases().with_extension("lock");
    FileLock::acquire(&path, lock_deadline()).await
}

/// The blobs that somebody needs. The caller holds the [`lease_gate`].
pub(crate) fn leased_blobs(directories: &Directories) -> Result<HashSet<Digest>, PathError> {
    let parent = directories.leases();
    let mut blobs = HashSet::new();
    if !parent.exists() {
        return Ok(blobs);
    }
    for entry in parent.read_dir_utf8().at("read directory", &parent)? {
        let entry = entry.at("read directory", &parent)?;
        blobs.extend(live_lease(entry.path())?);
    }
    Ok(blobs)
}

/// Removes the leases whose makers are gone.
pub(crate) async fn sweep_leases(directories: &Directories) -> Result<(), LockError> {
    if directories.leases().exists() {
        let _gate = lease_gate(directories).await?;
        leased_blobs(directories)?;
    }
    Ok(())
}

/// What a lease names; nothing, when its maker is gone.
fn live_lease(path: &Utf8Path) -> Result<Vec<Digest>, PathError> {
    let file = match File::open(path) {
        // it was just given back
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened.at("open", path)?,
    };
    match FileLock::try_acquire_existing(path) {
        Ok(Some(_abandoned)) => {
            // its maker may be giving it back this moment
            drop(fs::remove_file(path));
            return Ok(Vec::new());
        }
        Ok(None) => {}
        Err(error) if error.io_error().kind() == std::io::ErrorKind::NotFound => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    }
    let mut text = String::new();
    let read = file.take(MAX_LEASE).read_to_string(&mut text);
    read.at("read", path)?;
    Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn leases_hold_until_they_end_and_abandoned_ones_do_not() {
        let scratch = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(scratch.path()).unwrap();
        let directories = Directories {
            state: root.join("s"),
            cache: root.join("c"),
            runtime: root.join("r"),
        };
        let (one, other) = (Digest::of(b"one"), Digest::of(b"other"));
        assert!(leased_blobs(&directories).unwrap().is_empty());
        let lease = CacheLease::take(&directories, [one, other]).await.unwrap();
        let again = CacheLease::take(&directories, [one]).await.unwrap();
        let abandoned = directories.leases().join("abandoned");
        fs::write(&abandoned, format!("{}\n", Digest::of(b"lost"))).unwrap();
        assert_eq!(leased_blobs(&directories).unwrap(), [one, other].into());
        assert!(!abandoned.exists());
        drop(lease);
        assert_eq!(leased_blobs(&directories).unwrap(), [one].into());
        drop(again);
        assert!(leased_blobs(&directories).unwrap().is_empty());
        assert_eq!(fs::read_dir(directories.leases()).unwrap().count(), 0);
    }
}
