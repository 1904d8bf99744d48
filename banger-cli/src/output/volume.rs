//! Volumes.

use banger_core::domain::{VmName, VmVolume, Volume, VolumeSource};
use serde::Serialize;

use super::{details, table, time, timestamp};

/// A volume, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VolumeOutput {
    name: String,
    size_bytes: u64,
    created: Option<String>,
    vms: Vec<String>,
}

impl From<&Volume> for VolumeOutput {
    fn from(volume: &Volume) -> Self {
        Self {
            name: volume.name.to_string(),
            size_bytes: volume.size.get(),
            created: timestamp(volume.created),
            vms: volume.users.iter().map(VmName::to_string).collect(),
        }
    }
}

/// Volumes for people.
#[must_use]
pub fn volume_table(volumes: &[Volume]) -> String {
    let row = |volume: &Volume| {
        vec![
            volume.name.to_string(),
            volume.size.to_string(),
            time(volume.created),
            users(volume),
        ]
    };
    let head = ["NAME", "SIZE", "CREATED", "VMS"];
    table(&head, &volumes.iter().map(row).collect::<Vec<_>>())
}

/// One volume for people.
#[must_use]
pub fn volume_details(volume: &Volume) -> String {
    details(&[
        ("name", volume.name.to_string()),
        ("size", volume.size.to_string()),
        ("created", time(volume.created)),
        ("VMs", users(volume)),
    ])
}

fn users(volume: &Volume) -> String {
    let names: Vec<&str> = volume.users.iter().map(VmName::as_str).collect();
    names.join(", ")
}

/// A VM's volume, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct VmVolumeOutput {
    kind: &'static str,
    source: String,
    target: String,
    read_only: bool,
}

impl From<&VmVolume> for VmVolumeOutput {
    fn from(volume: &VmVolume) -> Self {
        let (kind, source) = match &volume.source {
            VolumeSource::Named(name) => ("named", name.to_string()),
            VolumeSource::Disk(path) => ("disk", path.to_string()),
            VolumeSource::Directory(path) => ("directory", path.to_string()),
            _ => ("other", String::new()),
        };
        Self {
            kind,
            source,
            target: volume.target.clone(),
            read_only: volume.read_only,
        }
    }
}

/// A VM's volumes, as users write them.
pub(super) fn vm_volumes(volumes: &[VmVolume]) -> String {
    let text = |volume: &VmVolume| {
        let volume = VmVolumeOutput::from(volume);
        let access = if volume.read_only { ":ro" } else { "" };
        format!("{}:{}{access}", volume.source, volume.target)
    };
    volumes.iter().map(text).collect::<Vec<_>>().join(", ")
}
