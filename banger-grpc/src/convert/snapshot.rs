//! Snapshots.

use banger_api::v1;
use banger_core::domain::Snapshot;

use super::{timestamp, vm::vm};
use crate::request::name::SNAPSHOTS;

pub(crate) fn snapshot(snapshot: &Snapshot) -> v1::Snapshot {
    v1::Snapshot {
        name: SNAPSHOTS.name(snapshot.id),
        uid: snapshot.id.to_string(),
        create_time: timestamp(snapshot.created),
        vm: Some(vm(&snapshot.vm)),
        backend: snapshot.backend.as_str().to_owned(),
        on_disk_bytes: snapshot.size_on_disk.get(),
    }
}
