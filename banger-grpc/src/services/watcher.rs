//! Somebody who watches machines.
//!
//! Invariants: what is told comes from the database, in pages, and nothing is read
//! for a watcher that does not ask for more; one that waits keeps nothing but where it
//! is; whether there is something new is looked up once for all of them.
//! Entry points: [`Watcher`], [`News`].

use std::{collections::VecDeque, sync::Arc, time::Duration};

use banger_api::v1::{Bookmark, WatchVmsResponse, watch_vms_response::Message as Told};
use banger_core::domain::{VmOrder, VmPage, VmProperty, VmState, VmTerm};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};

use super::vm_list::owned_by;
use crate::{
    backend::{Backend, Hub},
    caller::Caller,
    convert::vm::{change, vm},
    fault::Fault,
};

/// How often it is looked for changes.
const PAUSE: Duration = Duration::from_millis(250);
/// How long nothing is told at most.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Machines that are told at a time.
const PAGE: u32 = 100;

/// States that a machine keeps, whatever becomes of its monitor.
const RESTING: [VmState; 3] = [VmState::Created, VmState::Stopped, VmState::Failed];

/// Whether there is something new, for all watchers.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// The newest change, and when it was looked for.
    newest: Mutex<Option<(Instant, u64)>>,
    /// When machines were looked at last.
    looked: Mutex<Option<Instant>>,
}

impl News {
    /// The number of the newest change, as it was a moment ago.
    async fn newest(&self, backend: &Backend) -> Result<u64, Fault> {
        let mut newest = self.newest.lock().await;
        if let Some((when, number)) = *newest
            && when.elapsed() < PAUSE
        {
            return Ok(number);
        }
        let number = backend.store.newest_vm_change().await?.unwrap_or(0);
        *newest = Some((Instant::now(), number));
        Ok(number)
    }

    /// Notices machines whose monitor is gone, unless another watcher just did.
    async fn look(&self, backend: &Backend) -> Result<(), Fault> {
        let Ok(mut looked) = self.looked.try_lock() else {
            return Ok(());
        };
        if looked.is_some_and(|when| when.elapsed() < HEARTBEAT) {
            return Ok(());
        }
        let moving = RESTING.map(|state| VmTerm {
            property: VmProperty::State(state),
            negated: true,
        });
        let mut page = first_page(moving.into());
        loop {
            // a record is looked at when it is read
            let vms = backend.vms.page(page.clone()).await?;
            match vms.last() {
                Some(last) if PAGE as usize <= vms.len() => page.order = page.order_after(last),
                _ => break,
            }
        }
        *looked = Some(Instant::now());
        Ok(())
    }
}

fn first_page(terms: Vec<VmTerm>) -> VmPage {
    VmPage {
        order: VmOrder::Name { after: None },
        descending: false,
        terms,
        limit: PAGE,
    }
}

/// Somebody who watches machines.
pub(super) struct Watcher {
    hub: Arc<Hub>,
    caller: Caller,
    /// The last change that was told or came before.
    after: u64,
    /// What is left of the machines that were there when the watching began.
    existing: Option<VmPage>,
    waiting: VecDeque<WatchVmsResponse>,
    told: Instant,
    /// Whether it was never looked for changes.
    is_new: bool,
}

impl Watcher {
    /// One who goes on after that change.
    pub(super) fn after(hub: Arc<Hub>, caller: Caller, after: u64) -> Self {
        Self {
            hub,
            caller,
            after,
            existing: None,
            waiting: VecDeque::new(),
            told: Instant::now(),
            is_new: true,
        }
    }

    /// One who is told all machines first.
    pub(super) async fn from_the_beginning(hub: Arc<Hub>, caller: Caller) -> Result<Self, Fault> {
        // the number first: what happens after it is told even if it shows already
        let newest = hub.backend.store.newest_vm_change().await?;
        let mut watcher = Self::after(hub, caller, newest.unwrap_or(0));
        let owner = watcher.caller.sees().map(owned_by);
        watcher.existing = Some(first_page(owner.into_iter().collect()));
        Ok(watcher)
    }

    /// What is told next. Cancelling loses nothing.
    pub(super) async fn next(&mut self) -> Result<WatchVmsResponse, Fault> {
        loop {
            if let Some(message) = self.waiting.pop_front() {
                self.told = Instant::now();
                return Ok(message);
            }
            // its room was for a page
            self.waiting = VecDeque::new();
            if let Some(page) = self.existing.take() {
                self.tell_existing(page).await?;
            } else if self.is_new || self.after < self.hub.news.newest(&self.hub.backend).await? {
                self.tell_changes().await?;
            } else if HEARTBEAT < self.told.elapsed() {
                self.hub.news.look(&self.hub.backend).await?;
                self.tell(Told::Bookmark(Bookmark {}));
            } else {
                sleep(PAUSE).await;
            }
        }
    }

    /// Reads a page of the machines that there are.
    async fn tell_existing(&mut self, mut page: VmPage) -> Result<(), Fault> {
        // put back first: whoever gives up here begins here again
        self.existing = Some(page.clone());
        let vms = self.hub.backend.vms.page(page.clone()).await?;
        self.existing = None;
        let messages = vms.iter().map(|one| WatchVmsResponse {
            resume_token: String::new(),
            message: Some(Told::Existing(vm(one))),
        });
        self.waiting.extend(messages);
        match vms.last() {
            Some(last) if PAGE as usize <= vms.len() => {
                page.order = page.order_after(last);
                self.existing = Some(page);
            }
            _ => self.tell(Told::Bookmark(Bookmark {})),
        }
        Ok(())
    }

    /// Reads a page of changes.
    async fn tell_changes(&mut self) -> Result<(), Fault> {
        // what was before the first change is no change: none was seen yet
        let after = (self.after != 0).then_some(self.after);
        let changes = self.hub.backend.vms.changes(None, after).await?;
        self.is_new = false;
        for one in changes {
            self.after = one.sequence;
            if self.caller.sees_of(one.owner.as_deref()) {
                self.tell(Told::Change(change(&one)));
            }
        }
        Ok(())
    }

    fn tell(&mut self, message: Told) {
        self.waiting.push_back(WatchVmsResponse {
            resume_token: self.after.to_string(),
            message: Some(message),
        });
    }
}
