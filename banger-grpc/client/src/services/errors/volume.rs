//! Errors of named volumes.

use banger_api::v1::ErrorReason;
use banger_core::{
    domain::Bytes,
    vm::VmVolumeError,
    volume::{CreateVolumeError, DeleteVolumeError, VolumeQueryError},
};

use super::{FromServer, OBJECT, fact};
use crate::Failure;

/// Why a machine cannot have a volume.
pub(super) fn of_vm(failure: &Failure) -> Option<VmVolumeError> {
    match failure.reason? {
        ErrorReason::VolumeNotFound => Some(VmVolumeError::NotFound {
            name: fact(failure, OBJECT)?,
        }),
        ErrorReason::InvalidRequest => Some(VmVolumeError::NotReadOnly {
            path: fact(failure, "read_only_path")?,
        }),
        _ => None,
    }
}

impl FromServer for VolumeQueryError {
    fn known(failure: &Failure) -> Option<Self> {
        (failure.reason? == ErrorReason::VolumeNotFound).then_some(())?;
        let name = fact(failure, OBJECT)?;
        Some(Self::NotFound { name })
    }
}

impl FromServer for CreateVolumeError {
    fn known(failure: &Failure) -> Option<Self> {
        match failure.reason? {
            ErrorReason::VolumeExists => Some(Self::AlreadyExists {
                name: fact(failure, OBJECT)?,
            }),
            ErrorReason::InvalidRequest => Some(Self::TooSmall {
                size: Bytes::new(fact(failure, "size_bytes")?),
                least: Bytes::new(fact(failure, "least_bytes")?),
            }),
            _ => None,
        }
    }
}

impl FromServer for DeleteVolumeError {
    fn known(failure: &Failure) -> Option<Self> {
        if failure.reason? == ErrorReason::VolumeInUse {
            let vms = failure.facts.get("vms")?.split(',').map(str::parse);
            return Some(Self::InUse {
                name: fact(failure, OBJECT)?,
                vms: vms.collect::<Result<_, _>>().ok()?,
            });
        }
        VolumeQueryError::known(failure).map(Self::Query)
    }
}
