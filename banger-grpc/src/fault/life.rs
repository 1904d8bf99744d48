//! From errors of changing, pausing and reading machines to faults.

use banger_api::v1::ErrorReason;
use banger_core::{
    domain::{Session, Vm},
    vm::{LogsError, PauseVmError, SetVmError, VmStatsError},
};

use super::{
    Fault,
    core::{Refine, VM},
};
use crate::convert::vm::vm_etag;

faults!(LogsError, PauseVmError, SetVmError, VmStatsError);

impl Fault {
    /// Fails unless the machine is as the etag says, if there is one.
    pub(crate) fn unless_etag(vm: &Vm, etag: &str) -> Result<(), Self> {
        let now = vm_etag(vm);
        if etag.is_empty() || etag == now {
            return Ok(());
        }
        let message = format!("VM {} is not as the etag says", vm.name);
        let fault = Self::new(ErrorReason::VmChanged, message);
        Err(fault.about(VM, &vm.name).fact("etag", &now))
    }
}

/// What the resources of faults are called.
const SESSION: &str = "banger.v1.Session";

/// The caller has no such session.
pub(crate) fn session_not_found(name: &str) -> Fault {
    let message = format!("session {name} does not exist");
    Fault::new(ErrorReason::SessionNotFound, message).about(SESSION, name)
}

/// Nothing is made in the session any more.
pub(crate) fn session_over(session: &Session) -> Fault {
    let message = format!("session {} is over", session.name);
    Fault::new(ErrorReason::SessionOver, message).about(SESSION, &session.name)
}

impl Refine for SetVmError {
    fn refine(&self, fault: Fault) -> Fault {
        match self {
            Self::Query(error) => error.refine(fault),
            Self::InvalidSpec { field, problem, .. } => fault.violated(field, problem),
            Self::Running { name, state } => fault.in_wrong_state(name, *state),
            Self::Busy { name } => fault.with_reason(ErrorReason::VmBusy).about(VM, name),
            Self::Changed { name } => fault.with_reason(ErrorReason::VmChanged).about(VM, name),
            _ => fault,
        }
    }
}

impl Refine for PauseVmError {
    fn refine(&self, fault: Fault) -> Fault {
        match self {
            Self::Query(error) => error.refine(fault),
            Self::NotRunning { name, state } => fault.in_wrong_state(name, *state),
            Self::Monitor { name, .. } => fault
                .with_reason(ErrorReason::MonitorFailed)
                .about(VM, name),
            _ => fault,
        }
    }
}

impl Refine for LogsError {
    fn refine(&self, fault: Fault) -> Fault {
        match self {
            Self::Query(error) => error.refine(fault),
            _ => fault,
        }
    }
}

impl Refine for VmStatsError {
    fn refine(&self, fault: Fault) -> Fault {
        match self {
            Self::Query(error) => error.refine(fault),
            Self::Monitor { name, .. } => fault
                .with_reason(ErrorReason::MonitorFailed)
                .about(VM, name),
            _ => fault,
        }
    }
}
