//! Where the time of a boot went. Pure.
//!
//! Invariants: the parts follow one another, and are never more than the whole
//! that the host measured, whatever a guest says of itself. Entry point:
//! [`BootTimes`].

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The parts of a boot, in order, as far as there are any. What is left of its
/// whole is the monitor's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BootTimes {
    /// What carries the machine's network was started.
    pub network: Option<Duration>,
    /// From the start of the VMM's process until the guest ran, but for its
    /// network.
    pub vmm: Duration,
    /// From the start of the guest's kernel until its init began, by the
    /// guest's clock.
    pub kernel: Option<Duration>,
    /// From there until its agent was ready, by the guest's clock.
    pub init: Option<Duration>,
    /// The rest of the time until the agent's answer was there.
    pub agent: Option<Duration>,
}

/// What a guest says of its boot, since the start of its kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct GuestTimes {
    pub(super) began_after: Duration,
    pub(super) ready_after: Duration,
}

impl BootTimes {
    /// Those of a guest that runs: its VMM took so long, of which its network
    /// took a part.
    pub(super) fn launched(took: Duration, network: Option<Duration>) -> Self {
        Self {
            network,
            vmm: took.saturating_sub(network.unwrap_or_default()),
            ..Self::default()
        }
    }

    /// The same of one whose agent answered so long after. A guest that went on
    /// from a snapshot booted long ago, and tells nothing.
    pub(super) fn answered(self, took: Duration, guest: Option<GuestTimes>) -> Self {
        let Some(guest) = guest else {
            return Self {
                agent: Some(took),
                ..self
            };
        };
        let ready = guest.ready_after.min(took);
        let kernel = guest.began_after.min(ready);
        Self {
            kernel: Some(kernel),
            init: Some(ready.saturating_sub(kernel)),
            agent: Some(took.saturating_sub(ready)),
            ..self
        }
    }

    /// All parts together.
    #[must_use]
    pub fn total(&self) -> Duration {
        let parts = [
            self.network,
            Some(self.vmm),
            self.kernel,
            self.init,
            self.agent,
        ];
        parts.into_iter().flatten().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn parts_are_those_of_the_whole_whatever_a_guest_says() {
        let launched = BootTimes::launched(ms(30), Some(ms(10)));
        assert_eq!((launched.network, launched.vmm), (Some(ms(10)), ms(20)));
        for (began_after, ready_after, expected) in [
            (ms(300), ms(400), [300, 100, 100]),
            (ms(300), ms(900), [300, 200, 0]),
            (ms(900), ms(800), [500, 0, 0]),
            (ms(9), ms(3), [3, 0, 497]),
            (Duration::MAX, Duration::MAX, [500, 0, 0]),
        ] {
            let guest = GuestTimes {
                began_after,
                ready_after,
            };
            let times = launched.answered(ms(500), Some(guest));
            let parts = [times.kernel, times.init, times.agent];
            assert_eq!(parts, expected.map(|count| Some(ms(count))), "{guest:?}");
            assert_eq!(times.total(), ms(530));
        }
        let restored = launched.answered(ms(5), None);
        assert_eq!((restored.kernel, restored.agent), (None, Some(ms(5))));
        assert_eq!(restored.total(), ms(35));
    }
}
