//! When a running VM's lease is over.
//!
//! Invariants: nothing is done on the strength of a lease that was read
//! before: the record is read again first, so that a renewed lease counts; a
//! changed one is noticed within [`PERIOD`]. Entry points: [`LeaseWatch`].

use std::time::Duration;

use super::{
    activity::Activity, guest::has_commands, guest_link::GuestLink, orders::StopOrder,
    record::Record,
};
use crate::{
    clock::Clock,
    domain::{GrantedLease, OnExpiry},
    vm::in_words,
};

/// What a guest gets when its lease is over.
const EXPIRY_GRACE: Duration = Duration::from_secs(10);
/// Between two looks at the record.
const PERIOD: Duration = Duration::from_secs(5);
/// Least time between two looks.
const LEAST: Duration = Duration::from_millis(20);

/// Watches a lease.
#[derive(Debug)]
pub(super) struct LeaseWatch<'a> {
    pub(super) clock: &'a dyn Clock,
    pub(super) activity: &'a Activity,
    pub(super) guest: &'a GuestLink,
}

impl LeaseWatch<'_> {
    /// How long nothing has to be looked at.
    pub(super) fn pause(&self, lease: Option<&GrantedLease>) -> Duration {
        let Some(granted) = lease else { return PERIOD };
        let life = granted.remaining(&self.clock.moment());
        let idle = granted.lease.idle_timeout;
        let idle = idle.map(|limit| limit.saturating_sub(self.activity.idle()));
        let next = [life, idle].into_iter().flatten().min();
        next.map_or(PERIOD, |next| next.clamp(LEAST, PERIOD))
    }

    /// Looks at the record; an order to stop when the lease is over.
    pub(super) async fn look(&self, record: &mut Record) -> Option<StopOrder> {
        if let Err(error) = record.refresh_spec().await {
            let error = in_words(&error);
            tracing::warn!(error, "the VM's lease could not be read");
            return None;
        }
        let why = self.is_over(record.vm().spec.lease.as_ref()?).await?;
        Some(StopOrder {
            grace: EXPIRY_GRACE,
            why,
        })
    }

    async fn is_over(&self, granted: &GrantedLease) -> Option<&'static str> {
        if granted.is_over(&self.clock.moment()) {
            return Some("its lease is over");
        }
        let limit = granted.lease.idle_timeout?;
        if self.activity.idle() < limit {
            return None;
        }
        // a command may run that nobody is attached to
        if let Some(guest) = self.guest.get()
            && has_commands(guest).await
        {
            drop(self.activity.begin());
            return None;
        }
        Some("nobody used it for as long as its lease allows")
    }
}

/// Whether a VM that was stopped because of its lease is to be deleted.
pub(super) fn deletes(lease: Option<&GrantedLease>) -> bool {
    lease.is_some_and(|granted| granted.lease.on_expiry == OnExpiry::Delete)
}
