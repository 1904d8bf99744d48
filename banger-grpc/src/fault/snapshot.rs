//! From errors of snapshots to faults.

use banger_api::v1::ErrorReason;
use banger_core::vm::{DeleteSnapshotError, RestoreVmError, SnapshotQueryError, SnapshotVmError};

use super::{
    Fault,
    core::{Refine, VM},
};

/// What the resources of faults are called.
const SNAPSHOT: &str = "banger.v1.Snapshot";

faults!(
    DeleteSnapshotError,
    RestoreVmError,
    SnapshotQueryError,
    SnapshotVmError,
);

impl Refine for SnapshotQueryError {
    fn refine(&self, fault: Fault) -> Fault {
        match self {
            Self::NotFound { selector } => fault
                .with_reason(ErrorReason::SnapshotNotFound)
                .about(SNAPSHOT, selector),
            _ => fault,
        }
    }
}

impl Refine for SnapshotVmError {
    fn refine(&self, fault: Fault) -> Fault {
        match self {
            Self::Query(error) => error.refine(fault),
            Self::NotRunning { name, state } => fault.in_wrong_state(name, *state),
            Self::SharedVolume { name, volume } => fault.about(VM, name).fact("volume", volume),
            Self::Monitor { name, .. } => fault
                .with_reason(ErrorReason::MonitorFailed)
                .about(VM, name),
            _ => fault,
        }
    }
}

impl Refine for RestoreVmError {
    fn refine(&self, fault: Fault) -> Fault {
        match self {
            Self::Snapshot(error) => error.refine(fault),
            Self::DiskChanged { id, .. } | Self::Unsuited { id, .. } => fault.about(SNAPSHOT, id),
            Self::Create(error) => error.refine(fault),
            Self::Start(error) => error.refine(fault),
            _ => fault,
        }
    }
}

impl Refine for DeleteSnapshotError {
    fn refine(&self, fault: Fault) -> Fault {
        match self {
            Self::Query(error) => error.refine(fault),
            _ => fault,
        }
    }
}
