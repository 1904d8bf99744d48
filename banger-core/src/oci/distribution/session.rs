//! Access to one image's repository: its mirrors, then itself, with retries.
//!
//! Invariants: what may pass is tried again, with growing pauses, or with
//! those that the registry asks for; whatever a mirror does wrong is made up
//! for by the next place, and the error that is told is the registry's own.
//! What comes from a mirror is compared with its digest like everything else;
//! for a tag without a digest, a mirror is believed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use backon::{ExponentialBuilder, Retryable as _};
use futures_util::future::BoxFuture;

use super::{
    super::{RegistryReference, SourceError, SourceOptions},
    endpoint::Endpoint,
    failure::Attempt,
    transport::Transport,
};
use crate::domain::Digest;

/// How a registry itself is waited for. If it asks for a longer pause, the
/// user is told instead.
const ORIGIN: Patience = Patience {
    retries: 4,
    granted: Duration::from_mins(1),
};
/// The same of a mirror: another place is left.
const MIRROR: Patience = Patience {
    retries: 1,
    granted: Duration::ZERO,
};
/// Longest pause of our own choice.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// How much is waited for a place.
#[derive(Clone, Copy)]
struct Patience {
    /// Attempts after the first one.
    retries: usize,
    /// Longest pause that it may ask for.
    granted: Duration,
}

/// A repository, as seen with one set of options.
pub(in crate::oci) struct Session {
    mirrors: Vec<Mirrored>,
    origin: Endpoint,
    image: RegistryReference,
    reference: String,
    retry_pause: Duration,
}

struct Mirrored {
    endpoint: Endpoint,
    /// It did not answer: it is left alone from then on.
    is_down: AtomicBool,
}

impl Session {
    /// Reaches for nothing yet.
    pub(in crate::oci) fn new(
        image: &RegistryReference,
        options: &SourceOptions,
    ) -> Result<Self, SourceError> {
        let reference = image.to_string();
        let options = &options.registries;
        let transport = Arc::new(Transport::new(options.clone(), reference.clone()));
        let special = options.hosts.get(image.registry());
        let mirrors = special.map_or_else(Vec::new, |special| special.mirrors.clone());
        let mirrors = mirrors.iter().map(|mirror| {
            let repository = mirror.repository(image.repository());
            let endpoint = Endpoint::new(Arc::clone(&transport), mirror.host(), &repository)?;
            Ok(Mirrored {
                endpoint,
                is_down: AtomicBool::new(false),
            })
        });
        Ok(Self {
            mirrors: mirrors.collect::<Result<_, SourceError>>()?,
            origin: Endpoint::new(Arc::clone(&transport), image.registry(), image.repository())?,
            image: image.clone(),
            reference,
            retry_pause: options.retry_pause,
        })
    }

    /// How the image is called in messages.
    pub(in crate::oci) fn reference(&self) -> &str {
        &self.reference
    }

    /// The digest that the user asked for.
    pub(in crate::oci) const fn asked_digest(&self) -> Option<&Digest> {
        self.image.digest()
    }

    /// What names the manifest that the user asked for.
    pub(in crate::oci) fn asked_name(&self) -> String {
        match (self.image.digest(), self.image.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.unwrap_or("latest").to_owned(),
        }
    }

    /// Tries each place in its order until it works, cannot work, or was tried
    /// often enough.
    pub(in crate::oci) async fn call<'a, T>(
        &'a self,
        attempt: impl Fn(&'a Endpoint) -> BoxFuture<'a, Result<T, Attempt>> + Send + Sync,
    ) -> Result<T, SourceError> {
        for mirror in &self.mirrors {
            if mirror.is_down.load(Ordering::Relaxed) {
                continue;
            }
            let done = self.retrying(&mirror.endpoint, MIRROR, &attempt).await;
            match done {
                Err(error) if is_of_the_place(&error) => mirror.passed_over(&error),
                done => return done,
            }
        }
        self.retrying(&self.origin, ORIGIN, &attempt).await
    }

    async fn retrying<'a, T>(
        &self,
        endpoint: &'a Endpoint,
        patience: Patience,
        attempt: &(impl Fn(&'a Endpoint) -> BoxFuture<'a, Result<T, Attempt>> + Send + Sync),
    ) -> Result<T, SourceError> {
        let pauses = ExponentialBuilder::default()
            .with_min_delay(self.retry_pause)
            .with_max_delay(MAX_PAUSE)
            .with_max_times(patience.retries)
            .with_jitter();
        let done = (|| attempt(endpoint))
            .retry(pauses)
            .when(Attempt::is_transient)
            .adjust(|attempt, own| patience.pause(own, attempt.retry_after()))
            .await;
        done.map_err(told)
    }
}

impl Mirrored {
    fn passed_over(&self, error: &SourceError) {
        let mirror = self.endpoint.host();
        tracing::warn!(mirror, %error, "a mirror is passed over");
        if matches!(error, SourceError::Unavailable { .. }) {
            self.is_down.store(true, Ordering::Relaxed);
        }
    }
}

/// Whether another place may do better.
const fn is_of_the_place(error: &SourceError) -> bool {
    !matches!(error, SourceError::Io { .. } | SourceError::Lock { .. })
}

impl Patience {
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
