//! From errors of commands, files and events to faults.

use banger_api::v1::ErrorReason;
use banger_core::vm::{
    ConnectError, CopyError, ExecError, FileFailure, SpawnFailure, VmChangesError,
};

use super::{
    Fault,
    core::{Refine, VM},
};

/// What the resources of faults are called.
const EXEC: &str = "banger.v1.Exec";

faults!(ConnectError, CopyError, ExecError, VmChangesError);

impl Refine for ExecError {
    fn refine(&self, fault: Fault) -> Fault {
        match self {
            Self::Query(error) => error.refine(fault),
            Self::Image(error) => error.refine(fault),
            Self::NotRunning { name, state } => fault.in_wrong_state(name, *state),
            Self::Spawn { failure, .. } => match spawn(*failure) {
                Some(reason) => fault.with_reason(reason),
                None => fault,
            },
            Self::VmLost { name, .. } => fault.with_reason(ErrorReason::VmLost).about(VM, name),
            Self::NoSuchExec { id, .. } => {
                fault.with_reason(ErrorReason::ExecNotFound).about(EXEC, id)
            }
            Self::BeyondOutput { id, .. } => fault
                .with_reason(ErrorReason::ExecBeyondOutput)
                .about(EXEC, id),
            Self::TakenOver { id } => fault
                .with_reason(ErrorReason::ExecTakenOver)
                .about(EXEC, id),
            Self::Agent { name, .. } => fault.with_reason(ErrorReason::AgentFailed).about(VM, name),
            _ => fault,
        }
    }
}

const fn spawn(failure: SpawnFailure) -> Option<ErrorReason> {
    match failure {
        SpawnFailure::NotFound => Some(ErrorReason::ExecProgramNotFound),
        SpawnFailure::NotExecutable => Some(ErrorReason::ExecNotExecutable),
        SpawnFailure::BadWorkingDirectory => Some(ErrorReason::ExecBadWorkingDirectory),
        SpawnFailure::UnknownUser => Some(ErrorReason::ExecUnknownUser),
        _ => None,
    }
}

impl Refine for CopyError {
    fn refine(&self, fault: Fault) -> Fault {
        match self {
            Self::Query(error) => error.refine(fault),
            Self::NotRunning { name, state } => fault.in_wrong_state(name, *state),
            Self::Guest { name, failure, .. } => match file(*failure) {
                Some(reason) => fault
                    .with_reason(reason)
                    .about(VM, name)
                    .fact("failure", failure.as_str()),
                None => fault,
            },
            Self::VmLost { name, .. } => fault.with_reason(ErrorReason::VmLost).about(VM, name),
            Self::Agent { name, .. } => fault.with_reason(ErrorReason::AgentFailed).about(VM, name),
            _ => fault,
        }
    }
}

const fn file(failure: FileFailure) -> Option<ErrorReason> {
    match failure {
        FileFailure::NotFound => Some(ErrorReason::FileNotFound),
        FileFailure::NotADirectory | FileFailure::IsADirectory => Some(ErrorReason::FileWrongKind),
        FileFailure::PermissionDenied => Some(ErrorReason::FileForbidden),
        FileFailure::NoSpace => Some(ErrorReason::GuestDiskFull),
        _ => None,
    }
}

impl Refine for ConnectError {
    fn refine(&self, fault: Fault) -> Fault {
        match self {
            Self::Query(error) => error.refine(fault),
            Self::NotRunning { name, state } => fault.in_wrong_state(name, *state),
            Self::Refused { name, failure, .. } => fault
                .with_reason(ErrorReason::PortRefused)
                .about(VM, name)
                .fact("failure", failure.as_str()),
            Self::Broken { name, .. } => fault.with_reason(ErrorReason::PortBroken).about(VM, name),
            Self::VmLost { name, .. } => fault.with_reason(ErrorReason::VmLost).about(VM, name),
            Self::Agent { name, .. } => fault.with_reason(ErrorReason::AgentFailed).about(VM, name),
            _ => fault,
        }
    }
}

impl Refine for VmChangesError {
    fn refine(&self, fault: Fault) -> Fault {
        match self {
            Self::Query(error) => error.refine(fault),
            Self::Forgotten { oldest, .. } => fault
                .with_reason(ErrorReason::WatchExpired)
                .fact("oldest", oldest),
            _ => fault,
        }
    }
}
