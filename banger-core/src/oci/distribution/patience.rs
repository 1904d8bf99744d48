//! How often a place is asked, and how long it is waited for in between.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};

use super::{super::SourceError, failure::Attempt};

/// How a place is waited for that nothing can stand in for. If it asks for a
/// longer pause, the user is told instead.
pub(super) const ORIGIN: Patience = Patience {
    retries: 4,
    granted: Duration::from_mins(1),
};
/// The same of a mirror: another place is left.
pub(super) const MIRROR: Patience = Patience {
    retries: 1,
    granted: Duration::ZERO,
};
/// Longest pause of our own choice.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// How much is waited for a place.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    /// Attempts after the first one.
    retries: usize,
    /// Longest pause that it may ask for.
    granted: Duration,
}

impl Patience {
    /// Tries until it works, cannot work, or was tried often enough. `first`
    /// is the pause before the second attempt; later ones grow from it.
    pub(super) async fn retry<T, F>(
        self,
        first: Duration,
        attempt: impl FnMut() -> F,
    ) -> Result<T, SourceError>
    where
        F: Future<Output = Result<T, Attempt>>,
    {
        let pauses = ExponentialBuilder::default()
            .with_min_delay(first)
            .with_max_delay(MAX_PAUSE)
            .with_max_times(self.retries)
            .with_jitter();
        let done = attempt
            .retry(pauses)
            .when(Attempt::is_transient)
            .adjust(|attempt, own| self.pause(own, attempt.retry_after()))
            .await;
        done.map_err(told)
    }

    /// The pause before the next attempt; none when there is no next one.
    fn pause(self, own: Option<Duration>, asked: Option<Duration>) -> Option<Duration> {
        let own = own?;
        match asked {
            Some(asked) if self.granted < asked => None,
            Some(asked) => Some(own.max(asked)),
            None => Some(own),
        }
    }
}

/// An error that says when it makes sense to come back.
fn told(attempt: Attempt) -> SourceError {
    match (attempt.retry_after(), attempt.error) {
        (Some(asked), SourceError::Unavailable { reference, reason }) => {
            let seconds = asked.as_secs();
            let reason = format!("{reason}; it asks to be left alone for {seconds} s");
            SourceError::Unavailable { reference, reason }
        }
        (_, error) => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_left_alone_as_long_as_it_asks_but_not_for_ever() {
        let seconds = |number| Some(Duration::from_secs(number));
        assert_eq!(ORIGIN.pause(seconds(1), None), seconds(1));
        assert_eq!(ORIGIN.pause(seconds(1), seconds(7)), seconds(7));
        assert_eq!(ORIGIN.pause(seconds(8), seconds(7)), seconds(8));
        assert_eq!(ORIGIN.pause(seconds(1), seconds(61)), None);
        assert_eq!(ORIGIN.pause(None, seconds(1)), None);
        assert_eq!(MIRROR.pause(seconds(1), None), seconds(1));
        assert_eq!(MIRROR.pause(seconds(1), seconds(1)), None);
    }
}
