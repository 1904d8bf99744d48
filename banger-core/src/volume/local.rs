//! Volumes of this host.
//!
//! All that makes and removes their directories does it under one lock, which
//! is held for moments: an empty disk takes milliseconds whatever its size.

use std::{collections::HashSet, sync::Arc};

use async_trait::async_trait;
use camino::{Utf8Path, Utf8PathBuf};

use super::{
    CreateVolume, CreateVolumeError, DeleteVolumeError, ReconcileVolumesError, VolumeManager,
    VolumeQueryError,
};
use crate::{
    clock::Clock,
    directories::Directories,
    domain::{Bytes, Volume, VolumeName},
    host_fs::{
        FileLock, LockError, PathError, Staging, children, lock_deadline, remove_tree_if_present,
    },
    rootfs::{RootfsError, format_empty},
    store::{InsertError, Store},
    task::off_thread,
};

/// Least size of a disk that still has room beside its metadata.
const LEAST_SIZE: Bytes = Bytes::from_mib(16);
/// The disk's name in a volume's directory.
const DISK: &str = "disk.ext4";

/// Volumes of this host.
#[derive(Debug)]
pub struct LocalVolumeManager {
    store: Store,
    directories: Directories,
    clock: Arc<dyn Clock>,
}

impl LocalVolumeManager {
    /// The volumes in the given store and directories.
    #[must_use]
    pub fn new(store: Store, directories: Directories, clock: Arc<dyn Clock>) -> Self {
        Self {
            store,
            directories,
            clock,
        }
    }

    /// Removes what crashes left: directories that no record names.
    pub async fn reconcile(&self) -> Result<(), ReconcileVolumesError> {
        if self.orphans().await?.is_empty() {
            return Ok(());
        }
        let _lock = self.lock().await?;
        for path in self.orphans().await? {
            tracing::warn!(%path, "a volume's directory without a record is removed");
            remove_tree_if_present(&path)?;
        }
        Ok(())
    }

    async fn orphans(&self) -> Result<Vec<Utf8PathBuf>, ReconcileVolumesError> {
        let mut found = children(&self.directories.volumes())?;
        if found.is_empty() {
            return Ok(found);
        }
        let volumes = self.store.volumes().await;
        let volumes = volumes.map_err(ReconcileVolumesError::Store)?;
        let known: HashSet<_> = volumes
            .iter()
            .map(|volume| self.directories.volume(&volume.name))
            .collect();
        found.retain(|path| !known.contains(path));
        Ok(found)
    }

    async fn lock(&self) -> Result<FileLock, LockError> {
        let path = self.directories.locks().join("volumes");
        FileLock::acquire(&path, lock_deadline()).await
    }

    async fn find(&self, name: &VolumeName) -> Result<Volume, VolumeQueryError> {
        let found = self.store.volume(name).await;
        let found = found.map_err(VolumeQueryError::Store)?;
        found.ok_or_else(|| VolumeQueryError::NotFound { name: name.clone() })
    }
}

#[async_trait]
impl VolumeManager for LocalVolumeManager {
    async fn create(&self, request: CreateVolume) -> Result<Volume, CreateVolumeError> {
        if request.size < LEAST_SIZE {
            return Err(CreateVolumeError::TooSmall {
                size: request.size,
                least: LEAST_SIZE,
            });
        }
        let name = request.name;
        let _lock = self.lock().await?;
        let known = self.store.volume(&name).await;
        if known.map_err(CreateVolumeError::Store)?.is_some() {
            return Err(CreateVolumeError::AlreadyExists { name });
        }
        let directory = self.directories.volume(&name);
        let (target, size) = (directory.clone(), request.size);
        let made = off_thread(move || make(&target, size)).await;
        made.map_err(|error| error.of(&name))?;
        let volume = Volume {
            name,
            size: request.size,
            created: self.clock.now(),
            users: Vec::new(),
            labels: request.labels,
        };
        match self.store.insert_volume(&volume).await {
            Ok(()) => Ok(volume),
            Err(error) => {
                // it is the error that matters; a leftover is swept later
                drop(remove_tree_if_present(&directory));
                Err(match error {
                    InsertError::Taken => CreateVolumeError::AlreadyExists { name: volume.name },
                    InsertError::Store(error) => CreateVolumeError::Store(error),
                })
            }
        }
    }

    async fn list(&self) -> Result<Vec<Volume>, VolumeQueryError> {
        self.store.volumes().await.map_err(VolumeQueryError::Store)
    }

    async fn show(&self, name: &VolumeName) -> Result<Volume, VolumeQueryError> {
        self.find(name).await
    }

    async fn delete(&self, name: &VolumeName) -> Result<Volume, DeleteVolumeError> {
        let _lock = self.lock().await?;
        let volume = self.find(name).await?;
        if !volume.users.is_empty() {
            return Err(in_use(&volume));
        }
        if let Err(error) = self.store.delete_volume(name).await {
            // a VM may have got it just now
            let now = self.find(name).await?;
            return Err(if now.users.is_empty() {
                DeleteVolumeError::Store(error)
            } else {
                in_use(&now)
            });
        }
        let removed = remove_tree_if_present(&self.directories.volume(name));
        removed.map_err(|source| DeleteVolumeError::Io {
            name: name.clone(),
            source,
        })?;
        Ok(volume)
    }
}

fn in_use(volume: &Volume) -> DeleteVolumeError {
    DeleteVolumeError::InUse {
        name: volume.name.clone(),
        vms: volume.users.clone(),
    }
}

/// Why the directory of a volume could not be made.
enum MakeError {
    Disk(RootfsError),
    Io(PathError),
}

impl MakeError {
    fn of(self, name: &VolumeName) -> CreateVolumeError {
        let name = name.clone();
        match self {
            Self::Disk(source) => CreateVolumeError::Disk {
                name,
                source: Box::new(source),
            },
            Self::Io(source) => CreateVolumeError::Io { name, source },
        }
    }
}

impl From<PathError> for MakeError {
    fn from(error: PathError) -> Self {
        Self::Io(error)
    }
}

/// Makes a volume's directory with an empty disk. One that is there already
/// has no record: it was left by a crash.
fn make(directory: &Utf8Path, size: Bytes) -> Result<(), MakeError> {
    remove_tree_if_present(directory)?;
    let staging = Staging::create(directory)?;
    let uuid = uuid::Uuid::now_v7().into_bytes();
    format_empty(&staging.path().join(DISK), size, uuid).map_err(MakeError::Disk)?;
    Ok(staging.publish()?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{clock::SystemClock, error::ErrorKind};

    async fn manager(root: &Utf8Path) -> LocalVolumeManager {
        let directories = Directories {
            state: root.join("state"),
            cache: root.join("cache"),
            runtime: root.join("run"),
        };
        let store = Store::open(&directories).await.unwrap();
        LocalVolumeManager::new(store, directories, Arc::new(SystemClock))
    }

    fn request(name: &str, mib: u64) -> CreateVolume {
        CreateVolume {
            name: name.parse().unwrap(),
            size: Bytes::from_mib(mib),
            labels: BTreeMap::new(),
        }
    }

    #[tokio::test]
    async fn volumes_come_and_go() {
        let scratch = tempfile::tempdir().unwrap();
        let manager = manager(Utf8Path::from_path(scratch.path()).unwrap()).await;
        let small = manager.create(request("data", 1)).await.unwrap_err();
        assert_eq!(small.kind(), ErrorKind::InvalidInput);
        let made = manager.create(request("data", 64)).await.unwrap();
        let disk = manager.directories.volume_disk(&made.name);
        assert_eq!(disk.metadata().unwrap().len(), 64 << 20);
        let twice = manager.create(request("data", 64)).await.unwrap_err();
        assert_eq!(twice.kind(), ErrorKind::AlreadyExists);
        assert_eq!(
            manager.list().await.unwrap().as_slice(),
            std::slice::from_ref(&made)
        );
        assert_eq!(manager.delete(&made.name).await.unwrap(), made);
        assert!(!disk.exists());
        let gone = manager.delete(&made.name).await.unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn what_no_record_names_goes() {
        let scratch = tempfile::tempdir().unwrap();
        let manager = manager(Utf8Path::from_path(scratch.path()).unwrap()).await;
        manager.reconcile().await.unwrap();
        manager.create(request("kept", 16)).await.unwrap();
        let orphan = manager.directories.volumes().join("orphan");
        std::fs::create_dir(&orphan).unwrap();
        manager.reconcile().await.unwrap();
        assert!(!orphan.exists());
        assert_eq!(children(&manager.directories.volumes()).unwrap().len(), 1);
    }
}
