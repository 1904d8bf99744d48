//! `EventService`.
//!
//! Invariants: a watcher is told from the database, in pages, and nothing is read
//! for one that does not ask for more: one that is slow costs a page, and one that is
//! too slow is told that what it wants is forgotten.

use std::{pin::Pin, sync::Arc};

use banger_api::v1::{WatchVmsRequest, WatchVmsResponse, event_service_server::EventService};
use futures_util::{Stream, stream};
use tonic::{Request, Response, Status};

use super::watcher::Watcher;
use crate::{
    backend::Front,
    fault::Fault,
    request::{Checks, caller},
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
}
