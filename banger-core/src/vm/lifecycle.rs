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

/// The state in which a boot that ended so leaves its VM.
pub(super) const fn after_exit(exit: &VmExit) -> VmState {
    match exit {
        VmExit::PoweredOff | VmExit::Forced => VmState::Stopped,
        VmExit::VmmDied(_) | VmExit::MonitorLost => VmState::Failed,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn events() -> Vec<VmEvent> {
        vec![
            VmEvent::DisksMade,
            VmEvent::StartRequested,
            VmEvent::AgentReady,
            VmEvent::BootFailed,
            VmEvent::StopRequested,
            VmEvent::Ended(VmExit::PoweredOff),
            VmEvent::Ended(VmExit::Forced),
            VmEvent::Ended(VmExit::VmmDied("signal".to_owned())),
            VmEvent::Ended(VmExit::MonitorLost),
            VmEvent::DeleteRequested,
        ]
    }

    /// Every legal step, one row per state: what follows each of [`events`].
    #[test]
    fn the_table_is_the_whole_truth() {
        use VmState as S;
        const NO: Option<VmState> = None;
        let (stopped, failed) = (Some(S::Stopped), Some(S::Failed));
        let (starting, deleting) = (Some(S::Starting), Some(S::Deleting));
        let stopping = Some(S::Stopping);
        let table = [
            (
                S::Creating,
                [Some(S::Created), NO, NO, NO, NO, NO, NO, NO, NO, deleting],
            ),
            (
                S::Created,
                [NO, starting, NO, NO, NO, NO, NO, NO, NO, deleting],
            ),
            (
                S::Starting,
                [
                    NO,
                    NO,
                    Some(S::Running),
                    failed,
                    stopping,
                    stopped,
                    stopped,
                    failed,
                    failed,
                    NO,
                ],
            ),
            (
                S::Running,
                [
                    NO, NO, NO, NO, stopping, stopped, stopped, failed, failed, NO,
                ],
            ),
            (
                S::Stopping,
                [
                    NO, NO, NO, NO, stopping, stopped, stopped, failed, failed, NO,
                ],
            ),
            (
                S::Stopped,
                [NO, starting, NO, NO, NO, NO, NO, NO, NO, deleting],
            ),
            (
                S::Failed,
                [NO, starting, NO, NO, NO, NO, NO, NO, NO, deleting],
            ),
            (S::Deleting, [NO, NO, NO, NO, NO, NO, NO, NO, NO, deleting]),
        ];
        assert_eq!(table.map(|(state, _)| state), VmState::ALL);
        for (state, row) in table {
            for (event, expected) in events().iter().zip(row) {
                assert_eq!(step(state, event).ok(), expected, "{state:?} {event:?}");
            }
        }
    }

    #[test]
    fn every_state_is_reachable() {
        let mut reached = BTreeSet::from([VmState::Creating.as_str()]);
        let mut waiting = vec![VmState::Creating];
        while let Some(state) = waiting.pop() {
            let next = events()
                .into_iter()
                .filter_map(|event| step(state, &event).ok());
            waiting.extend(next.filter(|state| reached.insert(state.as_str())));
        }
        assert_eq!(reached.len(), VmState::ALL.len());
    }

    proptest! {
        /// However events come, a machine only ever exists between a start and
        /// an end, and a VM being removed is never used again.
        #[test]
        fn no_history_breaks_the_rules(choices in proptest::collection::vec(0..10_usize, 0..60)) {
            let mut state = VmState::Creating;
            let mut has_machine = false;
            let mut removing = false;
            for choice in choices {
                let event = events().swap_remove(choice);
                let Ok(next) = step(state, &event) else { continue };
                match event {
                    VmEvent::StartRequested => {
                        prop_assert!(!has_machine && !removing);
                        has_machine = true;
                    }
                    VmEvent::AgentReady | VmEvent::StopRequested => prop_assert!(has_machine),
                    VmEvent::BootFailed | VmEvent::Ended(_) => {
                        prop_assert!(has_machine);
                        has_machine = false;
                    }
                    VmEvent::DisksMade => prop_assert!(!has_machine && !removing),
                    VmEvent::DeleteRequested => {
                        prop_assert!(!has_machine);
                        removing = true;
                    }
                }
                let is_up = matches!(
                    next,
                    VmState::Starting | VmState::Running | VmState::Stopping
                );
                prop_assert_eq!(is_up, has_machine);
                state = next;
            }
        }
    }
}
