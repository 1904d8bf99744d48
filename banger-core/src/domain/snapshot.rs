//! Snapshots: machines that were kept as they ran.

use std::time::SystemTime;

use super::{BackendKind, Bytes, SnapshotId, Vm};

/// The state of a VM at one moment: its memory, its devices and its disks. It
/// outlives the VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Id, never reused.
    pub id: SnapshotId,
    /// The VM as it was then, with the CPUs and the memory it ran with. Its
    /// image cannot be deleted while the snapshot exists.
    pub vm: Vm,
    /// The backend that kept it; no other can go on from it.
    pub backend: BackendKind,
    /// Room that its files took on the host's disk when it was made.
    pub size_on_disk: Bytes,
    /// When it was made.
    pub created: SystemTime,
}
