//! `EventService`.
//!
//! Invariants: a watcher is told from the database, in pages, and nothing is read
//! for one that does not ask for more: one that is slow costs a page, and one that is
//! too slow is told that what it wants is forgotten.

use std::{pin::Pin, sync::Arc};

use banger_api::v1::{
    ListVmChangesRequest, ListVmChangesResponse, WatchVmsRequest, WatchVmsResponse,
    event_service_server::EventService,
};
use banger_core::{domain::Selector, vm::VmQueryError};
use futures_util::{Stream, stream};
use tonic::{Request, Response, Status};

use super::watcher::Watcher;
use crate::{
    backend::Front,
    convert::vm::change,
    fault::Fault,
    request::{Checks, caller, name::VMS},
};

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
            Some(after) => Ok(Watcher::after(Arc::clone(hub), caller, after)),
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
