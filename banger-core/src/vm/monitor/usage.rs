//! What processes cost, from `/proc` (proc(5)).

use std::{fs, time::Duration};

use rustix::param::{clock_ticks_per_second, page_size};

/// What one process has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// CPU time in user and kernel mode.
    pub(super) cpu: Duration,
    /// Memory in use, in bytes.
    pub(super) resident: u64,
    /// Bytes it caused to be read from disks.
    pub(super) read: u64,
    /// Bytes it caused to be written to disks.
    pub(super) written: u64,
}

/// What a process has used; nothing of one that is gone.
pub(super) fn usage_of(process: u32) -> Usage {
    let read = |file| fs::read_to_string(format!("/proc/{process}/{file}")).unwrap_or_default();
    let (read_bytes, written_bytes) = disk_bytes(&read("io"));
    Usage {
        cpu: cpu_time(&read("stat"), clock_ticks_per_second()).unwrap_or_default(),
        resident: resident_pages(&read("statm")).unwrap_or_default() * page_size() as u64,
        read: read_bytes,
        written: written_bytes,
    }
}

/// User and system time: the 14th and 15th field of `stat`, of which the
/// second one, in parentheses, may hold anything.
fn cpu_time(stat: &str, ticks_per_second: u64) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_ascii_whitespace().skip(11);
    let user: u64 = times.next()?.parse().ok()?;
    let system: u64 = times.next()?.parse().ok()?;
    let ticks = u32::try_from(ticks_per_second)
        .ok()
        .filter(|ticks| *ticks != 0)?;
    Some(Duration::from_secs(user.saturating_add(system)) / ticks)
}

/// The second field of `statm`.
fn resident_pages(statm: &str) -> Option<u64> {
    statm.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn disk_bytes(io: &str) -> (u64, u64) {
    let value = |name| {
        let line = io.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|value| value.trim().parse().ok())
            .unwrap_or_default()
    };
    (value("read_bytes:"), value("write_bytes:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_proc_are_read() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 88 0 0 0 250 50 0 0 20 0 1 0 1 2 3\n";
        assert_eq!(cpu_time(stat, 100), Some(Duration::from_secs(3)));
        assert_eq!(cpu_time("7 (x) S 1", 100), None);
        assert_eq!(cpu_time(stat, 0), None);
        assert_eq!(resident_pages("100 42 3 1 0 9 0\n"), Some(42));
        assert_eq!(resident_pages(""), None);
        let io = "rchar: 1\nread_bytes: 20\nwrite_bytes: 30\ncancelled_write_bytes: 4\n";
        assert_eq!(disk_bytes(io), (20, 30));
        assert_eq!(disk_bytes(""), (0, 0));
    }

    #[test]
    fn this_process_uses_memory_and_one_that_is_gone_nothing() {
        assert!(4096 < usage_of(std::process::id()).resident);
        assert_eq!(usage_of(u32::MAX), Usage::default());
    }
}
