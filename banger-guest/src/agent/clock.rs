//! The machine's clock.

use std::{io, time::Duration};

use rustix::time::{ClockId, Timespec};

/// A smaller difference is left to the guest's own time service.
const TOLERANCE: Duration = Duration::from_millis(500);

/// Time since the kernel started.
pub(crate) fn since_boot() -> Duration {
    now(ClockId::Boottime)
}

/// The clock of the kernel's log: it stands still while the machine does.
pub(super) fn monotonic() -> Duration {
    now(ClockId::Monotonic)
}

/// Sets the clock to the host's if they differ by more than 500 ms.
pub(super) fn adopt(host: Duration) -> io::Result<()> {
    if !is_off(host, now(ClockId::Realtime)) {
        return Ok(());
    }
    let time = Timespec {
        tv_sec: i64::try_from(host.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: host.subsec_nanos().into(),
    };
    Ok(rustix::time::clock_settime(ClockId::Realtime, time)?)
}

/// A host that does not tell its time (0) is not followed.
fn is_off(host: Duration, own: Duration) -> bool {
    !host.is_zero() && TOLERANCE < host.abs_diff(own)
}

fn now(clock: ClockId) -> Duration {
    // a clock before 1970 counts as 1970
    Duration::try_from(rustix::time::clock_gettime(clock)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_differences_and_an_unknown_time_are_left() {
        let at = |millis: u64| Duration::from_millis(1_000_000_000 + millis);
        let own = at(1000);
        assert!(!is_off(Duration::ZERO, own));
        assert!(!is_off(at(1500), own));
        assert!(!is_off(at(500), own));
        assert!(is_off(at(1501), own));
        assert!(is_off(at(499), own));
    }

    #[test]
    fn the_boot_clock_runs() {
        assert!(Duration::ZERO < since_boot());
    }
}
