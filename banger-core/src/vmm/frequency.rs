//! How fast the host's time stamp counter runs.
//!
//! An emulated guest reads the host's counter. It would find out its speed by
//! an emulated timer, which fails on a busy host, and a guest without that
//! speed hangs in its first moments: so it is told.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::sys::time_stamp;

/// Long enough for a few millionths of error, short beside a boot.
const INTERVAL: Duration = Duration::from_millis(20);
/// Readings of which the one least disturbed is taken.
const TRIES: usize = 8;

/// Measures the counter's speed in kHz; none on a CPU without one. Holds up
/// its thread for some 20 ms.
pub(crate) fn time_stamp_khz() -> Option<u64> {
    let first = read()?;
    thread::sleep(INTERVAL);
    khz(first, read()?)
}

/// A counter's value and when it was read.
#[derive(Clone, Copy, Debug)]
struct Reading {
    count: u64,
    at: Instant,
}

/// Reads the counter; of several tries the one that was interrupted least.
fn read() -> Option<Reading> {
    let tries = (0..TRIES).filter_map(|_| {
        let before = Instant::now();
        let count = time_stamp()?;
        Some((before.elapsed(), Reading { count, at: before }))
    });
    tries
        .min_by_key(|(took, _)| *took)
        .map(|(_, reading)| reading)
}

fn khz(first: Reading, second: Reading) -> Option<u64> {
    let cycles = second.count.checked_sub(first.count)?;
    let nanoseconds = second.at.duration_since(first.at).as_nanos();
    let khz = u128::from(cycles) * 1_000_000 / nanoseconds.max(1);
    u64::try_from(khz).ok().filter(|khz| *khz != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_is_cycles_by_time() {
        let at = Instant::now();
        let reading = |count, milliseconds| Reading {
            count,
            at: at + Duration::from_millis(milliseconds),
        };
        let start = reading(1000, 0);
        assert_eq!(khz(start, reading(52_001_000, 20)), Some(2_600_000));
        assert_eq!(khz(start, reading(1000, 20)), None);
        assert_eq!(khz(start, reading(999, 20)), None);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn two_measurements_agree() {
        let (one, other) = (time_stamp_khz().unwrap(), time_stamp_khz().unwrap());
        assert!(one.abs_diff(other) < one / 100, "{one} {other}");
    }
}
