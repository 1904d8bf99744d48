//! What `/proc` tells of the service's process (proc(5)). Parsing is pure.

use std::fs;

use crate::Result;

/// Ticks of a second in what `/proc` counts: it is always so (`USER_HZ`).
const TICKS: f64 = 100.0;

/// The resident memory of a process in KiB: its own, without parts of files.
pub(crate) fn resident(process: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let kibibytes = anonymous(&status).ok_or("a process that tells no memory")?;
    Ok(f64::from(kibibytes))
}

/// The seconds of CPU that a process has had.
pub(crate) fn cpu(process: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let ticks = ticks(&stat).ok_or("a process that tells no time")?;
    Ok(f64::from(ticks) / TICKS)
}

fn anonymous(status: &str) -> Option<u32> {
    let mut lines = status.lines();
    let value = lines.find_map(|line| line.strip_prefix("RssAnon:"))?;
    value.split_whitespace().next()?.parse().ok()
}

/// Fields 14 and 15, user and system; the name before them may hold anything.
fn ticks(stat: &str) -> Option<u32> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_time_are_found() {
        let status = "VmRSS:\t  50 kB\nRssAnon:\t  12 kB\nRssFile:\t 38 kB\n";
        assert_eq!(anonymous(status), Some(12));
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 25 17 0 0 20 0 1";
        assert_eq!(ticks(stat), Some(42));
        assert_eq!(ticks("7 (a)"), None);
        let own = std::process::id();
        assert!(0.0 < resident(own).unwrap() && 0.0 <= cpu(own).unwrap());
    }
}
