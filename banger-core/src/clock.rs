//! Time, injected so that tests decide what time it is.

use std::{
    fmt, fs,
    time::{Duration, SystemTime},
};

use rustix::time::{ClockId, clock_gettime};

use crate::domain::{Moment, SinceBoot};

/// A source of time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The wall time now.
    fn now(&self) -> SystemTime;

    /// The time on the clock that counts from the host's boot, if there is one.
    fn since_boot(&self) -> Option<SinceBoot> {
        None
    }

    /// The time now, by both clocks.
    fn moment(&self) -> Moment {
        Moment {
            wall: self.now(),
            since_boot: self.since_boot(),
        }
    }
}

/// The host's own clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the host's clock"
    )]
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn since_boot(&self) -> Option<SinceBoot> {
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let now = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(now.tv_sec).ok()?;
        let nanoseconds = u32::try_from(now.tv_nsec).ok()?;
        Some(SinceBoot {
            boot_id: boot_id.trim_end().to_owned(),
            elapsed: Duration::new(seconds, nanoseconds),
        })
    }
}
