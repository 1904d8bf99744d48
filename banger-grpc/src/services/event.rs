//! `EventService`.
//!
//! Invariants: a watcher is told from the database, in pages, and nothing is read
//! for one that does not ask for more: one that is slow costs a page, and one that is
//! too slow is told that what it wants is forgotten.

use std::{collections::VecDeque, pin::Pin, sync::Arc, time::Duration};

use banger_api::v1::{
    Bookmark, ListVmChangesRequest, ListVmChangesResponse, WatchVmsRequest, WatchVmsResponse,
    event_service_server::EventService, watch_vms_response::Message as Told,
};
use banger_core::{domain::Selector, vm::VmQueryError};
use futures_util::{Stream, stream};
use tokio::time::{Instant, sleep};
use tonic::{Request, Response, Status};

use crate::{
    backend::{Front, Hub},
    caller::Caller,
    convert::vm::{change, vm},
    fault::Fault,
    request::{Checks, caller, name::VMS},
};

/// How often it is looked for changes.
const PAUSE: Duration = Duration::from_millis(250);
/// How long nothing is told at most.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Over what the database writes of machines.
#[derive(Debug)]
pub(crate) struct Events(pub(crate) Front);

impl Events {
    async fn watch(&self, request: Request<WatchVmsRequest>) -> Result<Watcher, Fault> {
        let hub = self.0.reading()?;
        let (caller, request) = (caller(&request), request.into_inner());
        let mut checks = Checks::default();
        let token = request.resume_token.as_str();
        let after = checks.parse_given::<u64>("resume_token", token);
        checks.finish()?;
        match after {
            Some(after) => Ok(Watcher::new(Arc::clone(hub), caller, after)),
            None => Watcher::from_the_beginning(Arc::clone(hub), caller).await,
        }
    }

    async fn list(
        &self,
        request: Request<ListVmChangesRequest>,
    ) -> Result<ListVmChangesResponse, Fault> {
        let hub = self.0.reading()?;
        let (caller, request) = (caller(&request), request.into_inner());
        let mut checks = Checks::default();
        let of = match request.vm.as_str() {
            "" => None,
            name => VMS.id("vm", name, &mut checks).map(Selector::from),
        };
        checks.finish()?;
        let vms = &hub.backend.vms;
        let page = vms.changes(of.as_ref(), request.after_sequence).await?;
        let next_sequence = page.last().map(|last| last.sequence);
        let seen = page
            .iter()
            .filter(|one| caller.sees_of(one.owner.as_deref()));
        let changes: Vec<_> = seen.map(change).collect();
        if let Some(selector) = of.filter(|_| changes.is_empty() && next_sequence.is_some()) {
            // others' machines are none
            return Err(VmQueryError::NotFound { selector }.into());
        }
        Ok(ListVmChangesResponse {
            changes,
            next_sequence,
        })
    }
}

/// Somebody who watches machines.
struct Watcher {
    hub: Arc<Hub>,
    caller: Caller,
    after: u64,
    waiting: VecDeque<WatchVmsResponse>,
    told: Instant,
}

impl Watcher {
    fn new(hub: Arc<Hub>, caller: Caller, after: u64) -> Self {
        Self {
            hub,
            caller,
            after,
            waiting: VecDeque::new(),
            told: Instant::now(),
        }
    }

    /// One who is told all machines first.
    async fn from_the_beginning(hub: Arc<Hub>, caller: Caller) -> Result<Self, Fault> {
        let mut watcher = Self::new(hub, caller, 0);
        // the number first: what happens after it is told even if it shows already
        watcher.after = watcher.newest().await?;
        let existing = watcher.hub.backend.vms.list().await?;
        let seen = existing.iter().filter(|one| watcher.caller.sees_vm(one));
        let existing = seen.map(|one| WatchVmsResponse {
            resume_token: String::new(),
            message: Some(Told::Existing(vm(one))),
        });
        watcher.waiting.extend(existing);
        watcher.tell(Told::Bookmark(Bookmark {}));
        Ok(watcher)
    }

    async fn newest(&self) -> Result<u64, Fault> {
        let mut after = None;
        loop {
            let page = self.hub.backend.vms.changes(None, after).await?;
            match page.last() {
                Some(last) => after = Some(last.sequence),
                None => return Ok(after.unwrap_or(0)),
            }
        }
    }

    fn tell(&mut self, message: Told) {
        self.waiting.push_back(WatchVmsResponse {
            resume_token: self.after.to_string(),
            message: Some(message),
        });
    }

    /// What is told next. Cancelling loses nothing.
    async fn next(&mut self) -> Result<WatchVmsResponse, Fault> {
        loop {
            if let Some(message) = self.waiting.pop_front() {
                self.told = Instant::now();
                return Ok(message);
            }
            // what was before the first change is no change: none was seen yet
            let after = (self.after != 0).then_some(self.after);
            let page = self.hub.backend.vms.changes(None, after).await?;
            let is_behind = !page.is_empty();
            for one in page {
                self.after = one.sequence;
                if !self.caller.sees_of(one.owner.as_deref()) {
                    continue;
                }
                self.tell(Told::Change(change(&one)));
            }
            if is_behind {
                continue;
            }
            if HEARTBEAT < self.told.elapsed() {
                // looking at them all notices those whose monitor is gone
                self.hub.backend.vms.list().await?;
                self.tell(Told::Bookmark(Bookmark {}));
            } else {
                sleep(PAUSE).await;
            }
        }
    }
}

type Watching = Pin<Box<dyn Stream<Item = Result<WatchVmsResponse, Status>> + Send>>;

#[tonic::async_trait]
impl EventService for Events {
    type WatchVmsStream = Watching;

    async fn watch_vms(
        &self,
        request: Request<WatchVmsRequest>,
    ) -> Result<Response<Watching>, Status> {
        let watcher = self.watch(request).await?;
        let watching = stream::try_unfold(watcher, |mut watcher| async {
            let message = watcher.next().await?;
            Ok(Some((message, watcher)))
        });
        Ok(Response::new(Box::pin(watching)))
    }

    async fn list_vm_changes(
        &self,
        request: Request<ListVmChangesRequest>,
    ) -> Result<Response<ListVmChangesResponse>, Status> {
        Ok(Response::new(self.list(request).await?))
    }
}
