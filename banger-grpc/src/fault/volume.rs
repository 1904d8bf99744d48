//! From errors of volumes to faults.

use banger_api::v1::ErrorReason;
use banger_core::{
    domain::{VmName, VolumeName},
    vm::VmVolumeError,
    volume::{CreateVolumeError, DeleteVolumeError, VolumeQueryError},
};

use super::{Fault, core::Refine};

/// What the resources of faults are called.
const VOLUME: &str = "banger.v1.Volume";

faults!(CreateVolumeError, DeleteVolumeError, VolumeQueryError);

/// The volume is not there, or not the caller's.
pub(crate) fn volume_not_found(name: &VolumeName) -> Fault {
    VolumeQueryError::NotFound { name: name.clone() }.into()
}

impl Refine for VolumeQueryError {
    fn refine(&self, fault: Fault) -> Fault {
        match self {
            Self::NotFound { name } => fault
                .with_reason(ErrorReason::VolumeNotFound)
                .about(VOLUME, name),
            _ => fault,
        }
    }
}

impl Refine for VmVolumeError {
    fn refine(&self, fault: Fault) -> Fault {
        match self {
            Self::NotReadOnly { path } => fault.fact("read_only_path", path),
            Self::NotFound { name } => fault
                .with_reason(ErrorReason::VolumeNotFound)
                .about(VOLUME, name),
            _ => fault,
        }
    }
}

impl Refine for CreateVolumeError {
    fn refine(&self, fault: Fault) -> Fault {
        match self {
            Self::AlreadyExists { name } => fault
                .with_reason(ErrorReason::VolumeExists)
                .about(VOLUME, name),
            Self::TooSmall { size, least } => fault
                .fact("size_bytes", &size.get())
                .fact("least_bytes", &least.get()),
            _ => fault,
        }
    }
}

impl Refine for DeleteVolumeError {
    fn refine(&self, fault: Fault) -> Fault {
        match self {
            Self::Query(error) => error.refine(fault),
            Self::InUse { name, vms } => {
                let vms: Vec<&str> = vms.iter().map(VmName::as_str).collect();
                fault
                    .with_reason(ErrorReason::VolumeInUse)
                    .about(VOLUME, name)
                    .fact("vms", &vms.join(","))
            }
            _ => fault,
        }
    }
}
