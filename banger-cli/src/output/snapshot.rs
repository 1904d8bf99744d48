//! Snapshots.

use banger_core::domain::Snapshot;
use serde::Serialize;

use super::{details, table, time, timestamp};

/// A snapshot, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SnapshotOutput {
    id: String,
    vm: String,
    vm_id: String,
    image_id: String,
    backend: &'static str,
    vcpus: u32,
    memory_bytes: u64,
    on_disk_bytes: u64,
    created: Option<String>,
}

impl From<&Snapshot> for SnapshotOutput {
    fn from(snapshot: &Snapshot) -> Self {
        Self {
            id: snapshot.id.to_string(),
            vm: snapshot.vm.name.to_string(),
            vm_id: snapshot.vm.id.to_string(),
            image_id: snapshot.vm.image.to_string(),
            backend: snapshot.backend.as_str(),
            vcpus: snapshot.vm.spec.vcpus,
            memory_bytes: snapshot.vm.spec.memory.get(),
            on_disk_bytes: snapshot.size_on_disk.get(),
            created: timestamp(snapshot.created),
        }
    }
}

/// Snapshots for people.
#[must_use]
pub fn snapshot_table(snapshots: &[Snapshot]) -> String {
    let row = |snapshot: &Snapshot| {
        vec![
            snapshot.id.to_string(),
            snapshot.vm.name.to_string(),
            snapshot.backend.as_str().to_owned(),
            snapshot.vm.spec.memory.to_string(),
            snapshot.size_on_disk.to_string(),
            time(snapshot.created),
        ]
    };
    let head = ["ID", "VM", "BACKEND", "MEMORY", "ON DISK", "CREATED"];
    table(&head, &snapshots.iter().map(row).collect::<Vec<_>>())
}

/// One snapshot for people.
#[must_use]
pub fn snapshot_details(snapshot: &Snapshot) -> String {
    details(&[
        ("id", snapshot.id.to_string()),
        ("VM", format!("{} ({})", snapshot.vm.name, snapshot.vm.id)),
        ("image", snapshot.vm.image.to_string()),
        ("backend", snapshot.backend.as_str().to_owned()),
        ("CPUs", snapshot.vm.spec.vcpus.to_string()),
        ("memory", snapshot.vm.spec.memory.to_string()),
        ("on disk", snapshot.size_on_disk.to_string()),
        ("created", time(snapshot.created)),
    ])
}
