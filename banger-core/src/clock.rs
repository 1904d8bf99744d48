//! Wall time, injected so that tests decide what time it is.

use std::{fmt, time::SystemTime};

/// A source of wall time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The time now.
    fn now(&self) -> SystemTime;
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
}
