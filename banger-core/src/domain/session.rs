//! Sessions of clients: what is made in one lives as long as somebody keeps it.

use std::time::SystemTime;

use super::{GrantedLease, Moment, SessionId, SessionName};

/// A session of a client of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Id, never reused.
    pub id: SessionId,
    /// Whose it is.
    pub caller: String,
    /// Its name, unique among those of its caller that are remembered.
    pub name: SessionName,
    /// How long it lives after it was last kept, and what happens to its VMs then.
    pub lease: GrantedLease,
    /// When it was first kept.
    pub created: SystemTime,
    /// When it was noticed that it is over.
    pub ended: Option<SystemTime>,
}

impl Session {
    /// Whether it is over, noticed or not.
    #[must_use]
    pub fn is_over(&self, now: &Moment) -> bool {
        self.ended.is_some() || self.lease.is_over(now)
    }
}
