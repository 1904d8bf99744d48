//! What happened to VMs, from a number on.
//!
//! Invariants: whoever asks for what came after the last number it saw misses
//! nothing: numbers are given and rows appear in one order, and what was
//! forgotten since is an error. Page by page; nothing is kept between calls.

use super::{VmQueryError, supervisor::Host};
use crate::{
    domain::{Selector, VmChange, VmId},
    error::ErrorKind,
    remote::RemoteError,
    store::StoreError,
};

/// Most changes of one answer.
const PAGE: u32 = 1000;

/// What happened to VMs could not be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VmChangesError {
    /// The VM could not be looked up.
    #[error(transparent)]
    Query(#[from] VmQueryError),
    /// It is too long ago.
    #[error("changes after {after} are forgotten: the oldest that is kept is {oldest}")]
    Forgotten {
        /// What was asked for.
        after: u64,
        /// What there is.
        oldest: u64,
    },
    /// The store failed.
    #[error("failed to read what happened to VMs")]
    Store(#[source] StoreError),
    /// What a server said.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl VmChangesError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Remote(error) => error.kind(),
            Self::Query(error) => error.kind(),
            Self::Forgotten { .. } => ErrorKind::NotFound,
            Self::Store(error) => error.kind(),
        }
    }
}

/// The next changes after a number; none begins with the oldest.
pub(super) async fn changes(
    host: &Host,
    selector: Option<&Selector>,
    after: Option<u64>,
) -> Result<Vec<VmChange>, VmChangesError> {
    let vm = match selector {
        Some(selector) => Some(find(host, selector).await?),
        None => None,
    };
    let from = after.unwrap_or(0);
    let found = host.store().vm_changes(vm, from, PAGE).await;
    let found = found.map_err(VmChangesError::Store)?;
    // asked afterwards: what was forgotten before the reading shows
    let oldest = host.store().oldest_vm_change().await;
    let oldest = oldest.map_err(VmChangesError::Store)?.unwrap_or(0);
    match after {
        Some(after) if after.saturating_add(1) < oldest => {
            Err(VmChangesError::Forgotten { after, oldest })
        }
        _ => Ok(found),
    }
}

/// The VM a selector means; one that is gone by its whole id.
async fn find(host: &Host, selector: &Selector) -> Result<VmId, VmChangesError> {
    let gone = match host.find(selector).await {
        Ok(vm) => return Ok(vm.id),
        Err(error) => error,
    };
    let VmQueryError::NotFound { .. } = gone else {
        return Err(gone.into());
    };
    let Ok(id) = selector.as_str().parse::<VmId>() else {
        return Err(gone.into());
    };
    let last = host.store().last_vm_change(id).await;
    match last.map_err(VmChangesError::Store)? {
        Some(_) => Ok(id),
        None => Err(gone.into()),
    }
}
