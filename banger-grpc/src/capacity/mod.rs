//! What the host has for machines, who has how much of it, and who gets more.
//!
//! Purpose: no more is promised than the host and a caller's quota have. Invariants:
//! whether there is room and that it is taken is one step, so that two who ask at the
//! same time do not both get the last of it; what an operation was promised is its
//! own until its end, and counted by its machine's record from then on; what others
//! than this server make counts, too. Entry points: [`Budget`], `Admission`.

mod budget;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use banger_core::store::{Store, Uncounted};
use tokio::sync::Mutex as AsyncMutex;

use crate::fault::{Fault, Short};

pub use budget::{Amounts, Budget, Limit, Overcommit};

/// Something that takes room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Need {
    /// Who asks.
    pub(crate) owner: String,
    /// How much.
    pub(crate) amounts: Amounts,
    /// The machine that is to run, where it exists already: what its record says of
    /// that is not counted beside this.
    pub(crate) starts: Option<String>,
}

/// Gives room to operations.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    budget: Budget,
    /// What operations have that are at work.
    held: Mutex<Vec<Held>>,
    /// Held while it is found out whether there is room.
    turn: AsyncMutex<()>,
}

#[derive(Clone, Debug)]
struct Held {
    number: u64,
    operation: Option<String>,
    need: Need,
}

/// Room that an operation has. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Reservation {
    inner: Arc<Inner>,
    number: u64,
}

/// Who has how much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// By the records of machines.
    pub(crate) committed: Amounts,
    /// By operations that are at work.
    pub(crate) reserved: Amounts,
}

impl Admission {
    pub(crate) fn new(store: Store, budget: Budget) -> Self {
        Self {
            inner: Arc::new(Inner {
                store,
                budget,
                held: Mutex::default(),
                turn: AsyncMutex::new(()),
            }),
        }
    }

    pub(crate) fn budget(&self) -> &Budget {
        &self.inner.budget
    }

    /// Takes room, or fails and says what is short.
    pub(crate) async fn reserve(&self, need: Need) -> Result<Reservation, Fault> {
        let _turn = self.inner.turn.lock().await;
        self.check(&need).await?;
        Ok(self.inner.hold(need))
    }

    /// Fails if there is no room now.
    pub(crate) async fn check(&self, need: &Need) -> Result<(), Fault> {
        let budget = &self.inner.budget;
        let host = self.usage(None).await?;
        let short = short("host", &budget.limit(), &host, need);
        if !short.is_empty() {
            return Err(Fault::host_full(short));
        }
        if budget.per_owner == Limit::default() {
            return Ok(());
        }
        let owned = self.usage(Some(&need.owner)).await?;
        let subject = format!("owner:{}", need.owner);
        let short = self::short(&subject, &budget.per_owner, &owned, need);
        if !short.is_empty() {
            return Err(Fault::quota_exceeded(short));
        }
        Ok(())
    }

    /// Takes room that was promised by a server that is gone.
    pub(crate) fn claim(&self, need: Need) -> Reservation {
        self.inner.hold(need)
    }

    /// What an owner has, or everybody.
    pub(crate) async fn usage(&self, owner: Option<&str>) -> Result<Usage, Fault> {
        // looked at first: what ends meanwhile is not counted by its record
        let held = self.inner.lock().clone();
        let operations = held.iter().filter_map(|one| one.operation.clone());
        let running = held.iter().filter_map(|one| one.need.starts.clone());
        let uncounted = Uncounted {
            operations: operations.collect(),
            running: running.collect(),
        };
        let committed = self.inner.store.committed(owner, &uncounted).await?;
        let theirs = held
            .iter()
            .filter(|one| owner.is_none_or(|owner| one.need.owner == owner));
        Ok(Usage {
            committed: committed.into(),
            reserved: theirs.fold(Amounts::default(), |sum, one| sum.plus(one.need.amounts)),
        })
    }
}

/// What there is too little of.
fn short(subject: &str, limit: &Limit, usage: &Usage, need: &Need) -> Vec<Short> {
    let used = usage.committed.plus(usage.reserved);
    let names = Amounts::NAMES.into_iter();
    let amounts = need.amounts.each().into_iter().zip(used.each());
    let short = names
        .zip(limit.each())
        .zip(amounts)
        .filter_map(|((name, limit), (need, used))| {
            let limit = limit.filter(|limit| need != 0 && *limit < used.saturating_add(need))?;
            Some(Short {
                subject: format!("{subject}/{name}"),
                what: name,
                problem: format!("{need} more than the {used} of {limit} that are taken"),
            })
        });
    short.collect()
}

impl Inner {
    fn hold(self: &Arc<Self>, need: Need) -> Reservation {
        let mut held = self.lock();
        let number = held.last().map_or(0, |last| last.number + 1);
        held.push(Held {
            number,
            operation: None,
            need,
        });
        Reservation {
            inner: Arc::clone(self),
            number,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reservation {
    /// It is this operation's: machines that it makes are not counted beside it.
    pub(crate) fn belongs_to(&self, operation: &str) {
        let mut held = self.inner.lock();
        if let Some(one) = held.iter_mut().find(|one| one.number == self.number) {
            one.operation = Some(operation.to_owned());
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.inner.lock().retain(|one| one.number != self.number);
    }
}
