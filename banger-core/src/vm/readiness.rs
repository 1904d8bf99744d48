//! The one line a monitor writes to the pipe of whoever started it.
//!
//! Invariants: exactly one line, at most [`LINE_LIMIT`] bytes; a monitor that
//! died wrote none. Entry points: [`Readiness`].

use serde::{Deserialize, Serialize};

use super::BootTimes;

/// Most bytes of the line: the console's tail is the largest part.
pub(super) const LINE_LIMIT: usize = 256 * 1024;

/// How a start went, as its monitor saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub(super) enum Readiness {
    /// The agent answers, or the guest runs if it has none.
    Ready {
        /// Where the time went.
        times: BootTimes,
    },
    /// The machine did not come up.
    BootFailed {
        /// What sort of failure it is, by its name.
        failure: String,
        /// How far it came.
        stage: String,
        /// What happened.
        cause: String,
        /// The end of its console.
        console_tail: String,
    },
    /// A port cannot be published.
    PortRefused {
        /// The port, as users write it.
        port: String,
        /// The host's error number.
        errno: i32,
    },
    /// The monitor could not do its work.
    Refused {
        /// What happened.
        problem: String,
    },
}

impl Readiness {
    /// The line, with its end.
    pub(super) fn to_line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }

    /// The line's meaning; none when it is not whole.
    pub(super) fn from_line(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line.strip_suffix(b"\n")?).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_line_round_trips_and_a_cut_one_is_nothing() {
        let outcomes = [
            Readiness::Ready {
                times: BootTimes::launched(Duration::from_micros(7), None),
            },
            Readiness::BootFailed {
                failure: "kernel_panic".to_owned(),
                stage: "kernel".to_owned(),
                cause: "panic\nwith \"lines\"".to_owned(),
                console_tail: "\u{1b}[0m".to_owned(),
            },
            Readiness::PortRefused {
                port: "127.0.0.1:80:80/tcp".to_owned(),
                errno: 98,
            },
            Readiness::Refused {
                problem: "no".to_owned(),
            },
        ];
        for outcome in outcomes {
            let line = outcome.to_line();
            assert_eq!(line.split(|byte| *byte == b'\n').count(), 2);
            assert_eq!(Readiness::from_line(&line), Some(outcome));
            assert_eq!(Readiness::from_line(&line[..line.len() - 1]), None);
        }
    }
}
