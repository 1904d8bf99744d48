//! From errors of reading, keeping and saving images to faults.

use banger_core::image::{PromoteError, PruneError, ReadImageError, SaveError};

use super::{
    Fault,
    core::{IMAGE, Refine},
};

/// The fact that says what keeps an image from something.
const STATE: &str = "state";

faults!(PromoteError, PruneError, ReadImageError, SaveError);

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
