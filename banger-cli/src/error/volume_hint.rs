//! What a user can do about a failure with volumes.

use banger_core::{
    domain::VmName,
    vm::VmVolumeError,
    volume::{CreateVolumeError, DeleteVolumeError, VolumeQueryError},
};

const LIST: &str = "`banger volume list` shows the volumes";

pub(super) fn create(error: &CreateVolumeError) -> Option<String> {
    match error {
        CreateVolumeError::AlreadyExists { name } => Some(format!(
            "use another name, or delete it: `banger volume delete {name}`"
        )),
        _ => None,
    }
}

pub(super) fn delete(error: &DeleteVolumeError) -> Option<String> {
    match error {
        DeleteVolumeError::Query(error) => query(error),
        DeleteVolumeError::InUse { vms, .. } => {
            let names: Vec<&str> = vms.iter().map(VmName::as_str).collect();
            Some(format!(
                "delete what uses it: `banger vm delete {}`",
                names.join(" ")
            ))
        }
        _ => None,
    }
}

pub(super) fn query(error: &VolumeQueryError) -> Option<String> {
    match error {
        VolumeQueryError::NotFound { .. } => Some(LIST.to_owned()),
        _ => None,
    }
}

/// What helps when a VM cannot have a volume.
pub(super) fn of_vm(error: &VmVolumeError) -> Option<String> {
    match error {
        VmVolumeError::NotFound { name } => Some(format!(
            "make it: `banger volume create {name}`; a path of the host has a slash or a dot, as ./{name}"
        )),
        VmVolumeError::NotReadOnly { .. } => Some("add :ro".to_owned()),
        _ => None,
    }
}
