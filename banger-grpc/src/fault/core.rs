//! From the errors of the core to faults.
//!
//! Every error becomes what its kind says; those that a client may want to act on
//! get a reason and facts of their own. (The core's errors may grow, so these
//! matches must have a last arm: it is the kind's reason.)

use banger_api::v1::ErrorReason;
use banger_core::{
    catalog::{CatalogError, SupplyError},
    domain::ImageName,
    image::{DeleteImageError, ImageQueryError, PullError, RegisterError},
    kernel::{
        DeleteKernelError, ImportKernelError, KernelQueryError, PullKernelError, ResolveKernelError,
    },
    rootfs::RootfsError,
    store::StoreError,
    vm::{CreateVmError, DeleteVmError, StartVmError, StopVmError, VmQueryError},
    vmm::BackendError,
};

use super::Fault;

/// What the resources of faults are called.
pub(crate) const VM: &str = "banger.v1.Vm";
pub(crate) const IMAGE: &str = "banger.v1.Image";
pub(crate) const KERNEL: &str = "banger.v1.Kernel";

/// Gives a fault, made of an error's kind and words, what the error knows beside.
pub(super) trait Refine {
    fn refine(&self, fault: Fault) -> Fault;
}

faults!(
    CatalogError,
    CreateVmError,
    DeleteImageError,
    DeleteKernelError,
    DeleteVmError,
    ImageQueryError,
    ImportKernelError,
    KernelQueryError,
    PullError,
    PullKernelError,
    RegisterError,
    StartVmError,
    StopVmError,
    StoreError,
    VmQueryError,
);

impl Refine for CatalogError {
    fn refine(&self, fault: Fault) -> Fault {
        fault
    }
}

impl Refine for StoreError {
    fn refine(&self, fault: Fault) -> Fault {
        fault
    }
}

impl Refine for VmQueryError {
    fn refine(&self, fault: Fault) -> Fault {
        match self {
            Self::NotFound { selector } => fault
                .with_reason(ErrorReason::VmNotFound)
                .about(VM, selector),
            _ => fault,
        }
    }
}

impl Refine for BackendError {
    fn refine(&self, fault: Fault) -> Fault {
        match self {
            Self::NoBackend { .. }
            | Self::NoFirecracker { .. }
            | Self::NoJail { .. }
            | Self::TooOld { .. } => fault.with_reason(ErrorReason::HostNoBackend),
            _ => fault,
        }
    }
}

impl Refine for CreateVmError {
    fn refine(&self, fault: Fault) -> Fault {
        match self {
            Self::InvalidSpec { field, problem, .. } => fault.violated(field, problem),
            Self::AlreadyExists { name } => {
                fault.with_reason(ErrorReason::VmExists).about(VM, name)
            }
            Self::Image(error) => error.refine(fault),
            Self::Backend(error) => error.refine(fault),
            Self::Volume(error) => error.refine(fault),
            _ => fault,
        }
    }
}

impl Refine for StartVmError {
    fn refine(&self, fault: Fault) -> Fault {
        match self {
            Self::Query(error) => error.refine(fault),
            Self::Backend(error) => error.refine(fault),
            Self::WrongState { name, state } => fault.in_wrong_state(name, *state),
            Self::Busy { name } => fault.with_reason(ErrorReason::VmBusy).about(VM, name),
            Self::LeaseOver { name } => fault.with_reason(ErrorReason::VmLeaseOver).about(VM, name),
            Self::BootFailed {
                name,
                failure,
                stage,
                console_tail,
                ..
            } => fault
                .with_reason(ErrorReason::VmBootFailed)
                .about(VM, name)
                .fact("failure", failure.as_str())
                .fact("stage", stage)
                .tail("console", console_tail),
            Self::Port { name, port, source } => match source.kind() {
                std::io::ErrorKind::AddrInUse => fault
                    .with_reason(ErrorReason::HostPortTaken)
                    .about(VM, name)
                    .fact("port", port),
                _ => fault,
            },
            Self::Monitor { name, .. } => fault
                .with_reason(ErrorReason::MonitorFailed)
                .about(VM, name),
            _ => fault,
        }
    }
}

impl Refine for StopVmError {
    fn refine(&self, fault: Fault) -> Fault {
        match self {
            Self::Query(error) => error.refine(fault),
            Self::Monitor { name, .. } => fault
                .with_reason(ErrorReason::MonitorFailed)
                .about(VM, name),
            Self::TimedOut { name, .. } => fault.about(VM, name),
            _ => fault,
        }
    }
}

impl Refine for DeleteVmError {
    fn refine(&self, fault: Fault) -> Fault {
        match self {
            Self::Query(error) => error.refine(fault),
            Self::Running { name, state } => fault.in_wrong_state(name, *state),
            Self::Busy { name } => fault.with_reason(ErrorReason::VmBusy).about(VM, name),
            Self::Stop(error) => error.refine(fault),
            _ => fault,
        }
    }
}

impl Refine for ImageQueryError {
    fn refine(&self, fault: Fault) -> Fault {
        match self {
            Self::NotFound { selector } => fault
                .with_reason(ErrorReason::ImageNotFound)
                .about(IMAGE, selector),
            _ => fault,
        }
    }
}

impl Refine for DeleteImageError {
    fn refine(&self, fault: Fault) -> Fault {
        match self {
            Self::Query(error) => error.refine(fault),
            // the machines may be others': their names stay with the host's own users
            Self::InUse { name, .. } => {
                let message = format!("image {name} is used by VMs or snapshots");
                Fault::new(ErrorReason::ImageInUse, message).about(IMAGE, name)
            }
            _ => fault,
        }
    }
}

impl Refine for PullError {
    fn refine(&self, fault: Fault) -> Fault {
        match self {
            Self::AlreadyExists { name } => fault
                .with_reason(ErrorReason::ImageExists)
                .about(IMAGE, name),
            Self::Kernel { source, .. } => source.refine(fault),
            Self::Trust { name, .. } => fault
                .with_reason(ErrorReason::PolicyRefused)
                .about(IMAGE, name),
            Self::NotInCatalog { name } => fault
                .with_reason(ErrorReason::NotInCatalog)
                .about(IMAGE, name),
            Self::Load { source, .. } => source.refine(fault),
            Self::Rootfs {
                source: RootfsError::TooSmall { needed, .. },
                ..
            } => fault.fact("needed_mib", &needed.to_mib_ceiling()),
            _ => fault,
        }
    }
}

impl Refine for RegisterError {
    fn refine(&self, fault: Fault) -> Fault {
        match self {
            Self::AlreadyExists { name } => fault
                .with_reason(ErrorReason::ImageExists)
                .about(IMAGE, name),
            Self::Kernel { source, .. } => source.refine(fault),
            _ => fault,
        }
    }
}

impl Refine for SupplyError {
    fn refine(&self, fault: Fault) -> Fault {
        match self {
            Self::Trust(_) => fault.with_reason(ErrorReason::PolicyRefused),
            _ => fault,
        }
    }
}

impl Refine for ResolveKernelError {
    fn refine(&self, fault: Fault) -> Fault {
        match self {
            Self::NotFound { name } => fault
                .with_reason(ErrorReason::KernelNotFound)
                .about(KERNEL, name),
            Self::Pull { source, .. } => source.refine(fault),
            _ => fault,
        }
    }
}

impl Refine for KernelQueryError {
    fn refine(&self, fault: Fault) -> Fault {
        match self {
            Self::NotFound { name } => fault
                .with_reason(ErrorReason::KernelNotFound)
                .about(KERNEL, name),
            _ => fault,
        }
    }
}

impl Refine for ImportKernelError {
    fn refine(&self, fault: Fault) -> Fault {
        match self {
            Self::AlreadyExists { name } => fault
                .with_reason(ErrorReason::KernelExists)
                .about(KERNEL, name),
            Self::Busy { name } => fault
                .with_reason(ErrorReason::KernelBusy)
                .about(KERNEL, name),
            Self::Supply { source, .. } => source.refine(fault),
            _ => fault,
        }
    }
}

impl Refine for PullKernelError {
    fn refine(&self, fault: Fault) -> Fault {
        match self {
            Self::NotInCatalog { name } => fault
                .with_reason(ErrorReason::NotInCatalog)
                .about(KERNEL, name),
            Self::Import(error) => error.refine(fault),
            Self::Replace(error) => error.refine(fault),
            _ => fault,
        }
    }
}

impl Refine for DeleteKernelError {
    fn refine(&self, fault: Fault) -> Fault {
        match self {
            Self::NotFound { name } => fault
                .with_reason(ErrorReason::KernelNotFound)
                .about(KERNEL, name),
            Self::InUse { name, images } => {
                let images: Vec<&str> = images.iter().map(ImageName::as_str).collect();
                fault
                    .with_reason(ErrorReason::KernelInUse)
                    .about(KERNEL, name)
                    .fact("images", &images.join(","))
            }
            _ => fault,
        }
    }
}
