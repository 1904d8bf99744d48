//! Snapshots: VMs that are kept as they run, and gone on from.
//!
//! Purpose: keep a VM's memory, devices and disks under an id of its own, and
//! make other VMs of it. Invariants: a snapshot's directory is made in staging,
//! filled by the VM's monitor, and published by one rename, before its record;
//! its record goes before its directory; what no record names is swept; a
//! snapshot is never changed, and may be deleted while VMs run that went on
//! from it. Entry points: [`take`], [`restore`], [`delete`].

mod error;
mod restore;
mod take;

use std::collections::BTreeMap;

use camino::Utf8Path;

use super::{ReconcileVmsError, kept::KEEPING, lock::is_held, supervisor::Host};
use crate::{
    directories::Directories,
    domain::{Lease, PublishedPort, Selector, Snapshot, SnapshotId, VmName},
    host_fs::{FileLock, LockError, Staging, children, lock_deadline, remove_tree_if_present},
    store::Found,
};

pub use error::{DeleteSnapshotError, RestoreVmError, SnapshotQueryError, SnapshotVmError};
pub(super) use restore::restore;
pub(super) use take::take;

/// What a VM that goes on from a snapshot is to be, beyond what it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestoreVm {
    /// Its name; made up when none is given. The guest keeps its host name.
    pub name: Option<VmName>,
    /// Ports of the host that lead to it; those of the VM that was kept when
    /// none are given.
    pub ports: Option<Vec<PublishedPort>>,
    /// Delete the VM as soon as it stops.
    pub remove_on_stop: bool,
    /// How long it may live, from now on.
    pub lease: Option<Lease>,
    /// Labels beside those of the VM that was kept; the same key replaces.
    pub labels: BTreeMap<String, String>,
}

/// Every snapshot, oldest first.
pub(super) async fn list(host: &Host) -> Result<Vec<Snapshot>, SnapshotQueryError> {
    let snapshots = host.store().snapshots().await;
    snapshots.map_err(SnapshotQueryError::Store)
}

/// The snapshot a selector means.
pub(super) async fn find(host: &Host, selector: &Selector) -> Result<Snapshot, SnapshotQueryError> {
    let found = host.store().find_snapshot(selector).await;
    match found.map_err(SnapshotQueryError::Store)? {
        Found::One(snapshot) => Ok(snapshot),
        Found::None => Err(SnapshotQueryError::NotFound {
            selector: selector.clone(),
        }),
        Found::Several => Err(SnapshotQueryError::Ambiguous {
            selector: selector.clone(),
        }),
    }
}

/// Removes a snapshot and its files.
pub(super) async fn delete(
    host: &Host,
    selector: &Selector,
) -> Result<Snapshot, DeleteSnapshotError> {
    let snapshot = find(host, selector).await?;
    let id = snapshot.id;
    let deleted = host.store().delete_snapshot(id).await;
    if !deleted.map_err(|source| DeleteSnapshotError::Store { id, source })? {
        return Err(SnapshotQueryError::NotFound {
            selector: selector.clone(),
        }
        .into());
    }
    // from here on a crash leaves a directory without a record, which reconcile removes
    let removed = remove_tree_if_present(&host.options.directories.snapshot(id));
    removed.map_err(|source| DeleteSnapshotError::Io { id, source })?;
    Ok(snapshot)
}

/// Removes directories of snapshots in the making whose maker is gone, and of
/// those that have no record.
pub(super) async fn sweep(host: &Host) -> Result<(), ReconcileVmsError> {
    let snapshots = host.options.directories.snapshots();
    if children(&snapshots)?.is_empty() {
        return Ok(());
    }
    let _lock = lock(&host.options.directories).await?;
    let is_used = |path: &Utf8Path| is_held(&path.join(KEEPING));
    for path in Staging::remove_unused(&snapshots, is_used)? {
        tracing::warn!(%path, "a snapshot that was never finished is removed");
    }
    for path in children(&snapshots)? {
        let id = path.file_name().and_then(|name| name.parse().ok());
        let Some(id): Option<SnapshotId> = id else {
            continue;
        };
        if host.store().snapshot(id).await?.is_none() {
            tracing::warn!(%path, "a snapshot's directory without a record is removed");
            remove_tree_if_present(&path)?;
        }
    }
    Ok(())
}

/// The lock under which directories of snapshots are made, published and swept,
/// and under which a monitor begins to work in one.
pub(super) async fn lock(directories: &Directories) -> Result<FileLock, LockError> {
    let path = directories.locks().join("snapshots");
    FileLock::acquire(&path, lock_deadline()).await
}
