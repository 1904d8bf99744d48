//! Leases: granted with a VM or later, kept in its record, and enforced by
//! whoever meets it when they are over: its monitor while it runs, any other
//! call while it does not.

use std::time::Duration;

use crate::{
    clock::Clock,
    domain::{GrantedLease, Lease, OnExpiry, Vm, VmState},
};

/// Longest limit: what lies beyond is as good as none.
const MAX_LIMIT: Duration = Duration::from_hours(100 * 365 * 24);

/// A lease that counts from now.
pub(super) fn grant(mut lease: Lease, clock: &dyn Clock) -> GrantedLease {
    lease.max_lifetime = lease.max_lifetime.map(|limit| limit.min(MAX_LIMIT));
    lease.idle_timeout = lease.idle_timeout.map(|limit| limit.min(MAX_LIMIT));
    GrantedLease {
        lease,
        granted: clock.moment(),
    }
}

/// Whether the longest life of a VM is over.
pub(super) fn is_over(vm: &Vm, clock: &dyn Clock) -> bool {
    let lease = vm.spec.lease.as_ref();
    lease.is_some_and(|lease| lease.is_over(&clock.moment()))
}

/// Whether a VM that does not run is to be removed because its lease is over.
pub(super) fn is_to_be_removed(vm: &Vm, clock: &dyn Clock) -> bool {
    let deletes = |lease: &GrantedLease| lease.lease.on_expiry == OnExpiry::Delete;
    matches!(
        vm.state,
        VmState::Created | VmState::Stopped | VmState::Failed
    ) && vm.spec.lease.as_ref().is_some_and(deletes)
        && is_over(vm, clock)
}
