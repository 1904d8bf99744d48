//! A monitor's command line: written by the supervisor, read by the monitor.

use std::os::fd::RawFd;

use camino::{Utf8Path, Utf8PathBuf};

const LAUNCH: &str = "--launch";
const LOCK: &str = "--lock-descriptor";

/// What a monitor is told by its command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MonitorArguments {
    /// The file that says what to run.
    pub(super) launch: Utf8PathBuf,
    /// The number of the inherited lock.
    pub(super) lock: RawFd,
}

/// A command line that no supervisor wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a monitor takes \"{LAUNCH} FILE {LOCK} NUMBER\" and is started by banger itself")]
pub struct MonitorArgumentsError;

impl MonitorArguments {
    /// Reads what follows the monitor program's own arguments.
    pub fn parse(
        arguments: impl IntoIterator<Item = String>,
    ) -> Result<Self, MonitorArgumentsError> {
        let arguments: Vec<String> = arguments.into_iter().collect();
        let [launch_name, launch, lock_name, lock] = arguments.as_slice() else {
            return Err(MonitorArgumentsError);
        };
        let lock = lock.parse().map_err(|_| MonitorArgumentsError)?;
        if launch_name != LAUNCH || lock_name != LOCK {
            return Err(MonitorArgumentsError);
        }
        Ok(Self {
            launch: launch.into(),
            lock,
        })
    }

    /// The command line for a launch file and the lock with that number.
    pub(in crate::vm) fn command_line(launch: &Utf8Path, lock: RawFd) -> [String; 4] {
        [
            LAUNCH.to_owned(),
            launch.to_string(),
            LOCK.to_owned(),
            lock.to_string(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_round_trips_and_others_are_refused() {
        let line = MonitorArguments::command_line(Utf8Path::new("/v/launch.json"), 7);
        let parsed = MonitorArguments::parse(line.clone()).unwrap();
        assert_eq!((parsed.launch.as_str(), parsed.lock), ("/v/launch.json", 7));
        let mut swapped = line.clone();
        swapped.rotate_left(2);
        let mut wordy = line.clone();
        wordy[3] = "seven".to_owned();
        for wrong in [&line[..3], &swapped[..], &wordy[..], &[]] {
            assert!(MonitorArguments::parse(wrong.to_vec()).is_err());
        }
    }
}
