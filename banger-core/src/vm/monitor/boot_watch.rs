//! Watches how long the parts of a boot take. Entry point: [`BootWatch`].

use std::time::{Duration, Instant};

use crate::vm::boot_times::{BootTimes, GuestTimes};

/// The time of a boot, and of its part that goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct BootWatch {
    since: Instant,
    times: BootTimes,
}

impl BootWatch {
    /// The VMM starts now.
    pub(super) fn start() -> Self {
        Self {
            since: Instant::now(),
            times: BootTimes::default(),
        }
    }

    /// The guest runs; its network took so long.
    pub(super) fn launched(&mut self, network: Option<Duration>) {
        self.times = BootTimes::launched(self.next(), network);
    }

    /// The agent answered; a guest that booted tells what it knows.
    pub(super) fn answered(&mut self, guest: Option<GuestTimes>) {
        self.times = self.times.answered(self.next(), guest);
    }

    pub(super) const fn times(&self) -> BootTimes {
        self.times
    }

    fn next(&mut self) -> Duration {
        let now = Instant::now();
        now.duration_since(std::mem::replace(&mut self.since, now))
    }
}
