//! From errors of reading, keeping and saving images and kernels to faults.

use banger_api::v1::ErrorReason;
use banger_core::{
    domain::ImageName,
    image::{
        BundleImageError, PromoteError, PruneError, ReadImageError, SaveError,
        build::{BuildImageError, BuildMachineError},
    },
    kernel::BundleKernelError,
};
use camino::Utf8Path;

use super::{
    Fault,
    core::{IMAGE, Refine},
};

/// The fact that says what keeps an image from something.
const STATE: &str = "state";

/// The fact that says at what a build failed; others belong to it.
const BUILD: &str = "build";

faults!(
    BuildImageError,
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

impl Refine for BuildImageError {
    fn refine(&self, fault: Fault) -> Fault {
        match self {
            Self::AlreadyExists { name } => fault
                .with_reason(ErrorReason::ImageExists)
                .about(IMAGE, name),
            Self::Base(error) => error.refine(fault),
            Self::Step {
                name,
                problem,
                is_own,
                log,
                ..
            } => built(fault, "step", name, log)
                .fact("problem", problem)
                .fact("is_own", is_own),
            Self::TimedOut {
                name,
                deadline,
                log,
                ..
            } => built(fault, "timed_out", name, log)
                .fact("deadline_seconds", &deadline.as_secs_f64()),
            Self::Machine {
                name, source, log, ..
            } => machine(source, built(fault, "machine", name, log)),
            _ => fault,
        }
    }
}

/// Says that the machine of a build is what failed, or something in it.
fn built(fault: Fault, at: &str, name: &ImageName, log: &Utf8Path) -> Fault {
    fault.fact(BUILD, at).fact("image", name).fact("log", log)
}

fn machine(error: &BuildMachineError, fault: Fault) -> Fault {
    match error {
        BuildMachineError::Create(error) => error.refine(fault).fact("machine", "create"),
        BuildMachineError::Start(error) => error.refine(fault).fact("machine", "start"),
        BuildMachineError::Exec(error) => error.refine(fault).fact("machine", "exec"),
        BuildMachineError::Stop(error) => error.refine(fault).fact("machine", "stop"),
        _ => fault,
    }
}
