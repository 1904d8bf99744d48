//! Which uploads there are, whose, and how large. Pure.
//!
//! Invariants: nobody has more uploads, and nobody's and no others' have more bytes,
//! than the limits say; one that is used stays. Entry points: [`Ledger`].

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use banger_api::v1::ErrorReason;
use tokio::sync::Mutex as AsyncMutex;
use tokio_util::sync::CancellationToken;

use super::partial::Partial;
use crate::fault::{Fault, Short};

/// How long an upload is kept that nobody sends or uses.
pub(super) const KEPT: Duration = Duration::from_hours(1);

/// What uploads may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadLimits {
    /// Most bytes of all uploads of one owner.
    pub owner_bytes: u64,
    /// Most bytes of all uploads.
    pub all_bytes: u64,
    /// Most uploads of one owner.
    pub owner_count: usize,
}

impl Default for UploadLimits {
    fn default() -> Self {
        const GIB: u64 = 1 << 30;
        Self {
            owner_bytes: 64 * GIB,
            all_bytes: 256 * GIB,
            owner_count: 16,
        }
    }
}

/// An upload's name on this host: who sends it, and what that calls it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(super) owner: String,
    pub(super) name: String,
}

/// Where an upload is written, by one stream at a time.
pub(super) type Place = Arc<AsyncMutex<Option<Partial>>>;

/// What is known of an upload.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) bytes: u64,
    pub(super) is_whole: bool,
    /// How many operations read it.
    pub(super) holders: u32,
    /// When it was last sent or used.
    pub(super) touched: SystemTime,
    pub(super) place: Place,
    /// Ends the stream that writes.
    pub(super) turn: CancellationToken,
}

impl Entry {
    pub(super) fn new(bytes: u64, is_whole: bool, touched: SystemTime) -> Self {
        Self {
            bytes,
            is_whole,
            holders: 0,
            touched,
            place: Place::default(),
            turn: CancellationToken::new(),
        }
    }

    /// Whether it can go: nobody has sent or used it for long, or does.
    pub(super) fn is_forgotten(&self, now: SystemTime) -> bool {
        let age = now.duration_since(self.touched).unwrap_or_default();
        KEPT < age && self.holders == 0 && self.place.try_lock().is_ok()
    }
}

/// All uploads.
#[derive(Debug, Default)]
pub(super) struct Ledger(pub(super) HashMap<Key, Entry>);

impl Ledger {
    /// The upload, which is new if there is none.
    pub(super) fn begin(
        &mut self,
        key: &Key,
        limits: &UploadLimits,
        now: SystemTime,
    ) -> Result<&mut Entry, Fault> {
        let count = self.0.keys().filter(|one| one.owner == key.owner).count();
        if !self.0.contains_key(key) && limits.owner_count <= count {
            let problem = format!("{count} of {count} are there already");
            return Err(Fault::quota_exceeded(vec![short(problem)]));
        }
        let entry = self.0.entry(key.clone());
        Ok(entry.or_insert_with(|| Entry::new(0, false, now)))
    }

    /// So many bytes come to an upload that is there.
    pub(super) fn grow(
        &mut self,
        key: &Key,
        more: u64,
        limits: &UploadLimits,
    ) -> Result<(), Fault> {
        let (mut all, mut owned) = (more, more);
        for (one, entry) in &self.0 {
            all += entry.bytes;
            if one.owner == key.owner {
                owned += entry.bytes;
            }
        }
        let entry = self.0.get_mut(key).ok_or_else(taken_over)?;
        if limits.owner_bytes < entry.bytes + more {
            let most = limits.owner_bytes;
            let message = format!("a file of more than {most} bytes is not taken");
            return Err(Fault::new(ErrorReason::HostExhausted, message));
        }
        if limits.owner_bytes < owned {
            let problem = format!("no more than {} bytes are kept", limits.owner_bytes);
            return Err(Fault::quota_exceeded(vec![short(problem)]));
        }
        if limits.all_bytes < all {
            let problem = format!("no more than {} bytes are kept", limits.all_bytes);
            return Err(Fault::host_full(vec![short(problem)]));
        }
        entry.bytes += more;
        Ok(())
    }
}

fn short(problem: String) -> Short {
    Short {
        subject: "uploads".to_owned(),
        what: "uploads",
        problem,
    }
}

pub(super) fn taken_over() -> Fault {
    let message = "another stream goes on with the upload, or it was deleted";
    Fault::new(ErrorReason::UploadTakenOver, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(owner: &str, name: &str) -> Key {
        Key {
            owner: owner.to_owned(),
            name: name.to_owned(),
        }
    }

    #[test]
    fn limits_are_each_owners_and_everybodys() {
        let limits = UploadLimits {
            owner_bytes: 10,
            all_bytes: 15,
            owner_count: 2,
        };
        let now = SystemTime::UNIX_EPOCH;
        let mut ledger = Ledger::default();
        for (owner, name) in [("a", "1"), ("a", "2"), ("b", "1")] {
            ledger.begin(&key(owner, name), &limits, now).unwrap();
        }
        // one that is there is no more
        ledger.begin(&key("a", "1"), &limits, now).unwrap();
        let reason = |fault: Fault| fault.reason();
        let third = ledger.begin(&key("a", "3"), &limits, now).map(drop);
        assert_eq!(reason(third.unwrap_err()), ErrorReason::QuotaExceeded);

        let mut grow = |owner, name, more| ledger.grow(&key(owner, name), more, &limits);
        grow("a", "1", 4).unwrap();
        grow("a", "2", 6).unwrap();
        let full = [("a", "1", 1), ("b", "1", 6), ("b", "1", 11), ("b", "2", 1)];
        let reasons = full.map(|(owner, name, more)| reason(grow(owner, name, more).unwrap_err()));
        let expected = [
            ErrorReason::QuotaExceeded,
            ErrorReason::HostFull,
            ErrorReason::HostExhausted,
            ErrorReason::UploadTakenOver,
        ];
        assert_eq!(reasons, expected);
        grow("b", "1", 5).unwrap();
    }

    #[test]
    fn what_is_used_or_new_is_not_forgotten() {
        let now = SystemTime::UNIX_EPOCH;
        let mut entry = Entry::new(1, true, now);
        assert!(!entry.is_forgotten(now + KEPT));
        assert!(entry.is_forgotten(now + KEPT * 2));
        entry.holders = 1;
        assert!(!entry.is_forgotten(now + KEPT * 2));
        entry.holders = 0;
        let place = Arc::clone(&entry.place);
        let _writing = place.try_lock().unwrap();
        assert!(!entry.is_forgotten(now + KEPT * 2));
    }
}
