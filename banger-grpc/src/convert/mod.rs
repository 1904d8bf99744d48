//! From the core's records to the API's, and from requests to what the core takes.
//! Pure.
//!
//! Invariants: a value of the core that the API does not know yet is left
//! unspecified, never guessed; whatever a client sends is checked before the core
//! sees it. Entry points: the functions.

pub(crate) mod catalog;
pub(crate) mod exec;
pub(crate) mod image;
pub(crate) mod image_disk;
pub(crate) mod kernel;
pub(crate) mod operation;
pub(crate) mod progress;
pub(crate) mod session;
pub(crate) mod snapshot;
pub(crate) mod spec;
pub(crate) mod vm;
pub(crate) mod volume;

use std::time::{Duration, SystemTime};

use prost_types::Timestamp;
use sha2::{Digest as _, Sha256};

/// A time as the API has it.
#[expect(clippy::unnecessary_wraps, reason = "it is what messages hold")]
pub(crate) fn timestamp(time: SystemTime) -> Option<Timestamp> {
    Some(Timestamp::from(time))
}

/// A duration as the API has it.
pub(crate) fn duration(duration: Duration) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(duration).ok()
}

/// An etag of whatever tells two states of a record apart.
pub(crate) fn etag(parts: &[&dyn std::fmt::Debug]) -> String {
    let digest = Sha256::digest(format!("{parts:?}"));
    hex::encode(&digest[..8])
}
