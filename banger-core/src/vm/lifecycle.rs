//! The life of a VM as a pure function.
//!
//! ```text
//! creating -> created -> starting -> running -> stopping -> stopped
//!     |          |           |           |          |          |
//!     v          |           v           v          v          |
//!  (gone)        |         failed <------+----------+          |
//!                +-----------+---- starting (again) <----------+
//!                +-----------+--------- deleting <-------------+
//! ```
//!
//! Purpose: which event may follow which state, in one place. Invariants: no
//! I/O, no time; [`step`] is total. Entry points: [`step`].

use crate::domain::{VmExit, VmState};

/// Something that happens to a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VmEvent {
    /// Its disks are made.
    DisksMade,
    /// A monitor starts to boot it.
    StartRequested,
    /// Its agent answered.
    AgentReady,
    /// The boot gave up.
    BootFailed,
    /// Somebody asked it to stop.
    StopRequested,
    /// The machine ended.
    Ended(VmExit),
    /// Its files are about to be removed.
    DeleteRequested,
}

/// An event that the present state does not allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a VM that is {} does not allow {event:?}", state.as_str())]
pub struct IllegalTransition {
    state: VmState,
    event: VmEvent,
}

/// The state after `event`.
pub fn step(state: VmState, event: &VmEvent) -> Result<VmState, IllegalTransition> {
    use VmState as S;
    let next = match (state, event) {
        (S::Creating, VmEvent::DisksMade) => S::Created,
        (S::Created | S::Stopped | S::Failed, VmEvent::StartRequested) => S::Starting,
        (S::Starting, VmEvent::AgentReady) => S::Running,
        (S::Starting, VmEvent::BootFailed) => S::Failed,
        (S::Starting | S::Running | S::Stopping, VmEvent::StopRequested) => S::Stopping,
        (S::Starting | S::Running | S::Stopping, VmEvent::Ended(exit)) => after_exit(exit),
        (
            S::Creating | S::Created | S::Stopped | S::Failed | S::Deleting,
            VmEvent::DeleteRequested,
        ) => S::Deleting,
        _ => {
            return Err(IllegalTransition {
                state,
                event: event.clone(),
            });
        }
    };
    Ok(next)
}

const fn after_exit(exit: &VmExit) -> VmState {
    match exit {
        VmExit::PoweredOff | VmExit::Forced => VmState::Stopped,
        VmExit::VmmDied(_) | VmExit::MonitorLost => VmState::Failed,
    }
}
