//! Whether the kernel killed a process for want of memory.
//!
//! The kernel says so in its log, by the number of the process: `Out of memory:
//! Killed process 123 (name) …`, or `Memory cgroup out of memory: Killed
//! process …` (mm/oom_kill.c since Linux 4.19). A record's head is
//! `PRIORITY,SEQUENCE,MICROSECONDS,FLAGS;` (Documentation/ABI/testing/dev-kmsg);
//! what user space writes into the log has a facility of its own in the priority.

use std::{io, time::Duration};

use rustix::{
    fs::{CWD, Mode, OFlags},
    io::Errno,
};

use crate::agent::clock;

const LOG: &str = "/dev/kmsg";
/// Longest record (`PRINTK_MESSAGE_MAX`), with room to spare.
const RECORD: usize = 8192;
/// Most records that are looked at: the largest log has fewer.
const RECORDS: usize = 1 << 20;
/// What clocks may differ by.
const SLACK: Duration = Duration::from_secs(2);

/// Whether the log tells so of a process that was started so long ago.
pub(super) fn killed(pid: u32, age: Duration) -> bool {
    let since = clock::monotonic().saturating_sub(age + SLACK);
    search(pid, since).unwrap_or(false)
}

fn search(pid: u32, since: Duration) -> io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let log = rustix::fs::openat(CWD, LOG, flags, Mode::empty())?;
    let mut record = vec![0; RECORD];
    for _ in 0..RECORDS {
        match rustix::io::read(&log, &mut record) {
            // the record was overwritten: the next read has a later one
            Err(Errno::PIPE | Errno::INTR) => {}
            Err(Errno::AGAIN) | Ok(0) => break,
            Err(errno) => return Err(errno.into()),
            Ok(count) => {
                if tells(record.get(..count).unwrap_or_default(), pid, since) {
                    return Ok(true);
                }
            }
        }
    }
    Ok(false)
}

/// Whether a record tells of this kill.
fn tells(record: &[u8], pid: u32, since: Duration) -> bool {
    let record = String::from_utf8_lossy(record);
    let Some((head, text)) = record.split_once(';') else {
        return false;
    };
    let mut head = head.split(',').map(str::parse::<u64>);
    let (Some(Ok(priority)), _, Some(Ok(micros))) = (head.next(), head.next(), head.next()) else {
        return false;
    };
    let of_kernel = priority < 8;
    let victim = text.split_once("ut of memory").and_then(|(_, text)| {
        let (_, victim) = text.split_once("Killed process ")?;
        let (victim, _) = victim.split_once(' ')?;
        victim.parse().ok()
    });
    of_kernel && since <= Duration::from_micros(micros) && victim == Some(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_understood() {
        let global = b"3,612,7000000,-;Out of memory: Killed process 123 (sh) total-vm:99kB, UID:0";
        let group = b"3,612,7000000,-;Memory cgroup out of memory: Killed process 123 (x y) anon";
        let since = Duration::from_secs(7);
        for record in [&global[..], group] {
            assert!(tells(record, 123, since));
            assert!(!tells(record, 12, since));
            assert!(!tells(record, 123, since + Duration::from_micros(1)));
        }
        let others: [&[u8]; 5] = [
            b"11,612,7000000,-;Out of memory: Killed process 123 (sh)",
            b"3,612,7000000,-;Killed process 123 (sh)",
            b"3,612,x,-;Out of memory: Killed process 123 (sh)",
            b" SUBSYSTEM=x",
            b"",
        ];
        for record in others {
            assert!(!tells(record, 123, since), "{record:?}");
        }
    }

    #[test]
    fn a_living_process_was_not_killed() {
        assert!(!killed(std::process::id(), Duration::from_mins(1)));
    }
}
