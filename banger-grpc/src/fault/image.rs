//! From errors of reading, keeping and saving images and kernels to faults.

use banger_core::{
    image::{BundleImageError, PromoteError, PruneError, ReadImageError, SaveError},
    kernel::BundleKernelError,
};

use super::{
    Fault,
    core::{IMAGE, Refine},
};

/// The fact that says what keeps an image from something.
const STATE: &str = "state";

faults!(
    BundleImageError,
    BundleKernelError,
    PromoteError,
    PruneError,
    ReadImageError,
    SaveError,
);

impl Refine for ReadImageError {
    fn refine(&self, fault: Fault) -> Fault {
        match self {
            Self::Query(error) => error.refine(fault),
            Self::Changed { name } => fault.about(IMAGE, name).fact(STATE, "changed"),
            _ => fault,
        }
    }
}

impl Refine for PromoteError {
    fn refine(&self, fault: Fault) -> Fault {
        match self {
            Self::Query(error) => error.refine(fault),
            Self::Managed { name } => fault.about(IMAGE, name).fact(STATE, "managed"),
            Self::Changed { name } => fault.about(IMAGE, name).fact(STATE, "changed"),
            _ => fault,
        }
    }
}

impl Refine for PruneError {
    fn refine(&self, fault: Fault) -> Fault {
        fault
    }
}

impl Refine for SaveError {
    fn refine(&self, fault: Fault) -> Fault {
        match self {
            Self::Query(error) => error.refine(fault),
            Self::Changed { name } => fault.about(IMAGE, name).fact(STATE, "changed"),
            _ => fault,
        }
    }
}

impl Refine for BundleImageError {
    fn refine(&self, fault: Fault) -> Fault {
        match self {
            Self::Query(error) => error.refine(fault),
            _ => fault,
        }
    }
}

impl Refine for BundleKernelError {
    fn refine(&self, fault: Fault) -> Fault {
        match self {
            Self::Query(error) => error.refine(fault),
            _ => fault,
        }
    }
}
