//! When a start reached what, by the log of the machine's monitor. Parsing is
//! pure.
//!
//! Invariants: the log and the bench read the same clock; a start that reached
//! less than everything is an error.

use rustix::time::{ClockId, clock_gettime};

use crate::Result;

/// What monitors are to log: the messages below and little else.
pub(super) const FILTER: &str =
    "banger_core::vmm::process=debug,banger_core::vm::monitor::guest=debug";

const VMM_STARTED: &str = "the VMM was started";
/// The last that is heard of a machine whose guest has an agent.
pub(super) const AGENT_ANSWERED: &str = "the agent answered";
/// The last of one without.
pub(super) const LAUNCHED: &str = "the machine was launched";

const DAY: f64 = 86_400_000.0;

/// Where the milliseconds of a start went.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Phases {
    /// Until the VMM's process was made.
    pub(super) before: f64,
    /// From there until the machine was up.
    pub(super) machine: f64,
    /// From there until banger had ended.
    pub(super) after: f64,
}

impl Phases {
    /// Of a start between two times of the day whose monitor wrote `log`.
    pub(super) fn parse(log: &str, up: &str, (began, ended): (f64, f64)) -> Result<Self> {
        let at = |message: &str| {
            let line = line(log, message);
            let time = line.and_then(|line| line.split_whitespace().next());
            let time = time.and_then(time_of_day);
            time.ok_or_else(|| format!("a monitor did not log that {message}: {log}"))
        };
        let (started, up) = (at(VMM_STARTED)?, at(up)?);
        let between = |from: f64, to: f64| (to - from).rem_euclid(DAY);
        Ok(Self {
            before: between(began, started),
            machine: between(started, up),
            after: between(up, ended),
        })
    }

    /// What banger itself took.
    pub(super) const fn own(&self) -> f64 {
        self.before + self.after
    }
}

/// The id of the VMM's process.
pub(super) fn vmm(log: &str) -> Result<u32> {
    let id = line(log, VMM_STARTED).and_then(|line| line.rsplit_once("id="));
    let id = id.and_then(|(_, id)| id.trim().parse().ok());
    id.ok_or_else(|| format!("a monitor did not log the id of its VMM: {log}"))
}

fn line<'a>(log: &'a str, message: &str) -> Option<&'a str> {
    log.lines().find(|line| line.contains(message))
}

/// Milliseconds since midnight (UTC) of a time as `2026-01-01T01:02:03.456789Z`.
fn time_of_day(time: &str) -> Option<f64> {
    let (_, time) = time.strip_suffix('Z')?.split_once('T')?;
    let mut parts = time.split(':').map(|part| part.parse::<f64>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    Some(((hours * 60.0 + minutes) * 60.0 + seconds) * 1000.0)
}

/// The same of now.
#[expect(
    clippy::cast_precision_loss,
    reason = "a day has fewer than 2^52 nanoseconds times 64"
)]
pub(super) fn now() -> f64 {
    let now = clock_gettime(ClockId::Realtime);
    let seconds = now.tv_sec.rem_euclid(86_400) as f64;
    seconds * 1000.0 + now.tv_nsec as f64 / 1_000_000.0
}

#[cfg(test)]
mod checks {
    use super::*;

    const LOG: &str = "\
2026-11-26T23:59:59.900000Z DEBUG banger_core::vmm::process: the VMM was started id=4321
2026-11-26T23:59:59.901000Z DEBUG banger_core::vmm::process: the machine was launched launched=Ok(())
2026-11-27T00:00:02.000500Z DEBUG banger_core::vm::monitor::guest: the agent answered
";

    fn is_near(one: f64, other: f64) -> bool {
        (one - other).abs() < 0.001
    }

    #[test]
    fn phases_are_read_from_the_log_over_midnight() {
        let began = time_of_day("2026-11-26T23:59:59.880000Z").unwrap();
        let ended = time_of_day("2026-11-27T00:00:02.010500Z").unwrap();
        let phases = Phases::parse(LOG, AGENT_ANSWERED, (began, ended)).unwrap();
        assert!(is_near(phases.before, 20.0), "{phases:?}");
        assert!(is_near(phases.machine, 2100.5), "{phases:?}");
        assert!(is_near(phases.after, 10.0), "{phases:?}");
        assert!(is_near(phases.own(), 30.0));
        let launched = Phases::parse(LOG, LAUNCHED, (began, ended)).unwrap();
        assert!(is_near(launched.machine, 1.0), "{launched:?}");
    }

    #[test]
    fn a_log_that_lacks_something_is_refused() {
        let cut = LOG.lines().next().unwrap();
        assert!(Phases::parse(cut, AGENT_ANSWERED, (0.0, 1.0)).is_err());
        assert_eq!(vmm(LOG), Ok(4321));
        assert!(vmm("").is_err());
    }

    #[test]
    fn times_are_read_whole_or_not_at_all() {
        assert_eq!(time_of_day("2026-11-26T01:00:00.5Z"), Some(3_600_500.0));
        for text in ["", "01:00:00Z", "2026-11-26T01:00Z", "2026-11-26T01:00:00"] {
            assert_eq!(time_of_day(text), None, "{text}");
        }
    }
}
