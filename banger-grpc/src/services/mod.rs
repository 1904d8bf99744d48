//! The API's services, a module each.
//!
//! Invariants: a handler checks the server's phase before anything else, then the
//! request's form, and only then looks at the world; a request that came before is
//! answered as it was, whatever the world has become. Entry points: [`NAMES`],
//! [`change`].

mod capacity;
mod catalog;
pub(crate) mod event;
pub(crate) mod exec;
pub(crate) mod file;
mod first;
pub(crate) mod image;
pub(crate) mod image_disk;
pub(crate) mod kernel;
pub(crate) mod operation;
mod outgoing;
pub(crate) mod port;
pub(crate) mod session;
pub(crate) mod snapshot;
pub(crate) mod system;
pub(crate) mod upload;
pub(crate) mod vm;
mod vm_change;
mod vm_list;
mod vm_read;
pub(crate) mod volume;
pub(crate) mod watcher;

use std::time::Duration;

use banger_api::v1::{
    self, event_service_server, exec_service_server, file_service_server, image_service_server,
    kernel_service_server, operation_service_server, port_service_server, session_service_server,
    snapshot_service_server, system_service_server, upload_service_server, vm_service_server,
    volume_service_server,
};
use tonic::Request;

use crate::{
    backend::Hub,
    caller::Caller,
    convert,
    fault::Fault,
    operations::{Asked, Settled, Work},
    request::{Checks, MAX_WAIT, caller},
};

/// The one that always answers.
pub(crate) const SYSTEM: &str = system_service_server::SERVICE_NAME;

/// The full names of all services.
pub(crate) const NAMES: [&str; 13] = [
    event_service_server::SERVICE_NAME,
    exec_service_server::SERVICE_NAME,
    file_service_server::SERVICE_NAME,
    image_service_server::SERVICE_NAME,
    kernel_service_server::SERVICE_NAME,
    operation_service_server::SERVICE_NAME,
    port_service_server::SERVICE_NAME,
    session_service_server::SERVICE_NAME,
    snapshot_service_server::SERVICE_NAME,
    SYSTEM,
    upload_service_server::SERVICE_NAME,
    vm_service_server::SERVICE_NAME,
    volume_service_server::SERVICE_NAME,
];

/// How a change is asked for, whatever it is.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) caller: Caller,
    pub(crate) request_id: String,
    pub(crate) wait: Duration,
}

/// A request for a change.
pub(crate) trait Mutation {
    /// Its id, and how long its caller waits.
    fn asked(&mut self) -> (&mut String, &mut Option<prost_types::Duration>);
}

macro_rules! mutations {
    ($($request:ident),* $(,)?) => {
        $(impl Mutation for v1::$request {
            fn asked(&mut self) -> (&mut String, &mut Option<prost_types::Duration>) {
                (&mut self.request_id, &mut self.wait)
            }
        })*
    };
}

mutations!(
    BuildImageRequest,
    CreateSnapshotRequest,
    CreateVmRequest,
    CreateVolumeRequest,
    DeleteImageRequest,
    DeleteKernelRequest,
    DeleteSnapshotRequest,
    DeleteVmRequest,
    DeleteVolumeRequest,
    ImportKernelRequest,
    LoadImageRequest,
    PauseVmRequest,
    PromoteImageRequest,
    PruneImageCacheRequest,
    PullImageRequest,
    PullKernelRequest,
    RegisterImageRequest,
    RestoreVmRequest,
    ResumeVmRequest,
    StartVmRequest,
    StopVmRequest,
    UpdateVmRequest,
);

impl Ask {
    /// Takes it out of a request, and notes in `checks` what is wrong with it.
    pub(crate) fn of<M: Mutation>(request: Request<M>, checks: &mut Checks) -> (Self, M) {
        let (caller, mut request) = (caller(&request), request.into_inner());
        let (request_id, wait) = request.asked();
        checks.request_id(request_id);
        let ask = Self {
            caller,
            request_id: std::mem::take(request_id),
            wait: checks
                .duration("wait", wait.take())
                .unwrap_or_default()
                .min(MAX_WAIT),
        };
        (ask, request)
    }
}

/// Begins the work that `settle` makes of a request, unless `asked`, which is the
/// request as it came, began it before.
pub(crate) async fn change<S: Into<Settled>>(
    hub: &Hub,
    ask: &Ask,
    asked: Work,
    settle: impl Future<Output = Result<S, Fault>> + Send,
) -> Result<Option<v1::Operation>, Fault> {
    let asked = Asked {
        caller: ask.caller.identity().to_owned(),
        request_id: ask.request_id.clone(),
        digest: asked.digest(),
    };
    let operation = match hub.operations.known(&asked).await? {
        Some(operation) => operation,
        None => hub.operations.begin(asked, settle.await?.into()).await?,
    };
    let waiting = hub.operations.wait(&ask.caller, operation.id, ask.wait);
    let operation = waiting.await?;
    Ok(Some(convert::operation::operation(&operation)))
}
