//! Volumes, and volumes as machines have them.

use banger_api::v1::{self, vm_volume::Source};
use banger_core::{
    domain::{VmVolume, Volume, VolumeSource},
    vm::{RequestedSource, VolumeRequest},
};

use super::{etag, timestamp, vm::OPERATION_LABEL};
use crate::request::{
    Checks,
    name::{OPERATIONS, VMS, VOLUMES},
};

/// Most volumes of a machine that are looked at; how many it can have, the core knows.
const MAX_VOLUMES: usize = 64;

pub(crate) fn volume(volume: &Volume) -> v1::Volume {
    let operation = volume.labels.get(OPERATION_LABEL);
    v1::Volume {
        name: VOLUMES.name(&volume.name),
        uid: volume_uid(volume),
        create_operation: operation.map(|id| OPERATIONS.name(id)).unwrap_or_default(),
        create_time: timestamp(volume.created),
        size_bytes: volume.size.get(),
        vms: volume.users.iter().map(|name| VMS.name(name)).collect(),
    }
}

/// What tells a volume from another one of its name.
pub(crate) fn volume_uid(volume: &Volume) -> String {
    etag(&[&volume.name, &volume.created, &volume.labels])
}

pub(super) fn vm_volume(volume: &VmVolume) -> v1::VmVolume {
    let (source, copied) = match &volume.source {
        VolumeSource::Named(name) => (Some(Source::Volume(VOLUMES.name(name))), false),
        VolumeSource::Disk(path) => (Some(Source::HostPath(path.to_string())), false),
        VolumeSource::Directory(path) => (Some(Source::HostPath(path.to_string())), true),
        _ => (None, false),
    };
    v1::VmVolume {
        source,
        target: volume.target.clone(),
        read_only: volume.read_only,
        copied,
        volume_uid: String::new(),
    }
}

/// The volumes that a client asks for; what is wrong with them is noted in `checks`.
pub(super) fn requests(volumes: &[v1::VmVolume], checks: &mut Checks) -> Vec<VolumeRequest> {
    if MAX_VOLUMES < volumes.len() {
        checks.violated("spec.volumes", format!("more than {MAX_VOLUMES}"));
        return Vec::new();
    }
    let wanted = volumes.iter().enumerate();
    let wanted = wanted.filter_map(|(index, volume)| {
        let source = source(&format!("spec.volumes[{index}]"), volume, checks)?;
        Some(VolumeRequest {
            source,
            target: volume.target.clone(),
            read_only: volume.read_only,
        })
    });
    wanted.collect()
}

fn source(field: &str, volume: &v1::VmVolume, checks: &mut Checks) -> Option<RequestedSource> {
    match &volume.source {
        Some(Source::Volume(name)) => {
            let field = format!("{field}.volume");
            let id = VOLUMES.id(&field, name, checks)?;
            checks.parse(&field, id).map(RequestedSource::Named)
        }
        Some(Source::HostPath(path)) => {
            if !path.starts_with('/') || path.contains('\0') {
                checks.violated(&format!("{field}.host_path"), "is no absolute path");
            }
            Some(RequestedSource::Path(path.into()))
        }
        None => {
            checks.violated(field, "has no source");
            None
        }
    }
}
