//! The life of a VM as a pure function.
//!
//! ```text
//!                                     paused --+
//!                                        ^     v
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
    /// It is up: its agent answered or, without one, its VMM runs.
    CameUp,
    /// The boot gave up.
    BootFailed,
    /// Its CPUs were stopped.
    Paused,
    /// Its CPUs go on.
    Resumed,
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
        (S::Starting, VmEvent::CameUp) | (S::Paused, VmEvent::Resumed) => S::Running,
        (S::Starting, VmEvent::BootFailed) => S::Failed,
        (S::Running, VmEvent::Paused) => S::Paused,
        (S::Starting | S::Running | S::Paused | S::Stopping, VmEvent::StopRequested) => S::Stopping,
        (S::Starting | S::Running | S::Paused | S::Stopping, VmEvent::Ended(exit)) => {
            after_exit(exit)
        }
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
#[must_use]
pub const fn after_exit(exit: &VmExit) -> VmState {
    match exit {
        VmExit::PoweredOff | VmExit::Forced | VmExit::Command(_) => VmState::Stopped,
        VmExit::VmmDied(_) | VmExit::NetworkLost(_) | VmExit::MonitorLost => VmState::Failed,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn events() -> [VmEvent; 12] {
        [
            VmEvent::DisksMade,
            VmEvent::StartRequested,
            VmEvent::CameUp,
            VmEvent::BootFailed,
            VmEvent::Paused,
            VmEvent::Resumed,
            VmEvent::StopRequested,
            VmEvent::Ended(VmExit::PoweredOff),
            VmEvent::Ended(VmExit::Forced),
            VmEvent::Ended(VmExit::VmmDied("signal".to_owned())),
            VmEvent::Ended(VmExit::MonitorLost),
            VmEvent::DeleteRequested,
        ]
    }

    /// Every legal step: what follows each of [`events`], a row for each state,
    /// in two letters.
    #[test]
    fn the_table_is_the_whole_truth() {
        let table = [
            "cd -- -- -- -- -- -- -- -- -- -- de",
            "-- sg -- -- -- -- -- -- -- -- -- de",
            "-- -- ru fa -- -- si so so fa fa --",
            "-- -- -- -- pa -- si so so fa fa --",
            "-- -- -- -- -- ru si so so fa fa --",
            "-- -- -- -- -- -- si so so fa fa --",
            "-- sg -- -- -- -- -- -- -- -- -- de",
            "-- sg -- -- -- -- -- -- -- -- -- de",
            "-- -- -- -- -- -- -- -- -- -- -- de",
        ];
        let letters = |state: VmState| match state {
            VmState::Creating => "cg",
            VmState::Created => "cd",
            VmState::Starting => "sg",
            VmState::Running => "ru",
            VmState::Paused => "pa",
            VmState::Stopping => "si",
            VmState::Stopped => "so",
            VmState::Failed => "fa",
            VmState::Deleting => "de",
        };
        for (state, row) in VmState::ALL.into_iter().zip(table) {
            let next = events().map(|event| step(state, &event).map_or("--", letters));
            assert_eq!(next.join(" "), row, "{state:?}");
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
        fn no_history_breaks_the_rules(choices in proptest::collection::vec(0..12_usize, 0..60)) {
            let mut state = VmState::Creating;
            let mut has_machine = false;
            let mut removing = false;
            for choice in choices {
                let event = events()[choice].clone();
                let Ok(next) = step(state, &event) else { continue };
                match event {
                    VmEvent::StartRequested => {
                        prop_assert!(!has_machine && !removing);
                        has_machine = true;
                    }
                    VmEvent::CameUp
                    | VmEvent::Paused
                    | VmEvent::Resumed
                    | VmEvent::StopRequested => prop_assert!(has_machine),
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
                    VmState::Starting | VmState::Running | VmState::Paused | VmState::Stopping
                );
                prop_assert_eq!(is_up, has_machine);
                state = next;
            }
        }
    }
}
