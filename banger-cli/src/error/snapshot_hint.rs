//! What a user can do about a failure with snapshots.

use banger_core::vm::{DeleteSnapshotError, RestoreVmError, SnapshotQueryError, SnapshotVmError};

use super::hint::{create, start, vm_query};

pub(super) fn take(error: &SnapshotVmError) -> Option<String> {
    match error {
        SnapshotVmError::Query(error) => vm_query(error),
        SnapshotVmError::NotRunning { name, .. } => {
            Some(format!("start it: `banger vm start {name}`"))
        }
        SnapshotVmError::SharedVolume { .. } => {
            Some("only VMs that have their volumes with :ro can be kept".to_owned())
        }
        SnapshotVmError::NoRoom { .. } => Some(
            "delete what is not needed: `banger snapshot list`, `banger image prune`".to_owned(),
        ),
        _ => None,
    }
}

pub(super) fn restore(error: &RestoreVmError) -> Option<String> {
    match error {
        RestoreVmError::Snapshot(error) => query(error),
        RestoreVmError::DiskChanged { id, .. } | RestoreVmError::Unsuited { id, .. } => Some(
            format!("it is of no use here: `banger snapshot delete {id}`"),
        ),
        RestoreVmError::Create(error) => create(error),
        RestoreVmError::Start(error) => start(error),
        _ => None,
    }
}

pub(super) fn query(error: &SnapshotQueryError) -> Option<String> {
    match error {
        SnapshotQueryError::NotFound { .. } => {
            Some("`banger snapshot list` shows the snapshots".to_owned())
        }
        SnapshotQueryError::Ambiguous { .. } => Some("give more of the id".to_owned()),
        _ => None,
    }
}

pub(super) fn delete(error: &DeleteSnapshotError) -> Option<String> {
    match error {
        DeleteSnapshotError::Query(error) => query(error),
        _ => None,
    }
}
