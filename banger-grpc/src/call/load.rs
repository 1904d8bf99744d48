//! How many calls each caller has at a time.
//!
//! Invariants: nobody has more than the bound, and whoever has none costs nothing.
//! Entry points: [`Load`].

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use banger_api::v1::ErrorReason;

use crate::{caller::Caller, fault::Fault};

/// When it makes sense to try again.
const SOON: Duration = Duration::from_secs(1);

/// The calls that go on, by caller.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    going_on: Arc<Mutex<HashMap<String, u32>>>,
    most: u32,
}

/// A call that is counted until this is dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    load: Load,
    identity: String,
}

impl Load {
    pub(crate) fn new(most: u32) -> Self {
        Self {
            going_on: Arc::default(),
            most,
        }
    }

    /// Counts a call, unless the caller has too many.
    pub(crate) fn count(&self, caller: &Caller) -> Result<Counted, Fault> {
        let identity = caller.identity();
        let mut going_on = self.lock();
        match going_on.get_mut(identity) {
            Some(count) if self.most <= *count => return Err(too_many(self.most)),
            Some(count) => *count += 1,
            None if self.most == 0 => return Err(too_many(0)),
            None => drop(going_on.insert(identity.to_owned(), 1)),
        }
        Ok(Counted {
            load: self.clone(),
            identity: identity.to_owned(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, u32>> {
        self.going_on.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut going_on = self.load.lock();
        if let Some(count) = going_on.get_mut(&self.identity) {
            *count -= 1;
            if *count == 0 {
                going_on.remove(&self.identity);
            }
        }
    }
}

fn too_many(most: u32) -> Fault {
    let message = format!("the caller has {most} calls at a time already, the most it may have");
    let fault = Fault::new(ErrorReason::TooManyCalls, message).fact("limit", &most);
    fault.retry_after(SOON)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_caller_has_its_own_bound_and_room_again_when_calls_end() {
        let load = Load::new(2);
        let (one, other) = (Caller::local(1), Caller::local(2));
        let calls = [load.count(&one).unwrap(), load.count(&one).unwrap()];
        let refused = load.count(&one).unwrap_err();
        assert_eq!(refused.reason(), ErrorReason::TooManyCalls);
        let others = load.count(&other).unwrap();
        drop(calls);
        let again = load.count(&one).unwrap();
        drop((others, again));
        assert!(load.lock().is_empty());
    }
}
