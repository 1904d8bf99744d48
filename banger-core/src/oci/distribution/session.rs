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

use futures_util::future::BoxFuture;

use super::{
    super::{RegistryReference, SourceError, SourceOptions},
    endpoint::Endpoint,
    failure::Attempt,
    patience::{MIRROR, ORIGIN},
    transport::Transport,
};
use crate::domain::Digest;

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
            let done = MIRROR.retry(self.retry_pause, || attempt(&mirror.endpoint));
            match done.await {
                Err(error) if is_of_the_place(&error) => mirror.passed_over(&error),
                done => return done,
            }
        }
        let done = ORIGIN.retry(self.retry_pause, || attempt(&self.origin));
        done.await
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
