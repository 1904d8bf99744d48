//! `SnapshotService`.

use banger_api::v1::{
    self, CreateSnapshotRequest, CreateSnapshotResponse, DeleteSnapshotRequest,
    DeleteSnapshotResponse, ErrorReason, GetSnapshotRequest, GetSnapshotResponse,
    ListSnapshotsRequest, ListSnapshotsResponse, Operation, RestoreVmRequest, RestoreVmResponse,
    snapshot_service_server::SnapshotService,
};
use banger_core::{
    domain::{Selector, Snapshot},
    vm::SnapshotQueryError,
};
use tonic::{Request, Response, Status};

use super::{Ask, change, session, vm::settled};
use crate::{
    backend::{Front, Hub},
    caller::Caller,
    convert::snapshot::snapshot,
    fault::Fault,
    operations::{Settled, Work, check_session, of_kept, restore_request},
    request::{
        Checks, caller,
        mask::Mask,
        name::{SNAPSHOTS, VMS},
        order::{By, Order},
        page::Page,
    },
};

/// Over the core's snapshots.
#[derive(Debug)]
pub(crate) struct Snapshots(pub(crate) Front);

/// The snapshot with exactly that id: the core takes parts of ids, too, and a program
/// that means one must not get another. One of a machine that was not the caller's is
/// not there.
async fn find(hub: &Hub, caller: &Caller, name: &str) -> Result<Snapshot, Fault> {
    let id = name.strip_prefix("snapshots/").unwrap_or_default();
    let selector = Selector::from(id);
    let found = match hub.backend.vms.show_snapshot(&selector).await {
        Err(SnapshotQueryError::Ambiguous { .. }) => None,
        found => Some(found?),
    };
    let found = found.filter(|one| one.id.to_string() == id && caller.sees_vm(&one.vm));
    found.ok_or_else(|| SnapshotQueryError::NotFound { selector }.into())
}

impl Snapshots {
    async fn get(&self, request: Request<GetSnapshotRequest>) -> Result<v1::Snapshot, Fault> {
        let hub = self.0.reading()?;
        let (caller, request) = (caller(&request), request.into_inner());
        let mut checks = Checks::default();
        SNAPSHOTS.id("name", &request.name, &mut checks);
        checks.finish()?;
        Ok(snapshot(&find(hub, &caller, &request.name).await?))
    }

    async fn list(
        &self,
        request: Request<ListSnapshotsRequest>,
    ) -> Result<ListSnapshotsResponse, Fault> {
        let hub = self.0.reading()?;
        let (caller, request) = (caller(&request), request.into_inner());
        let mut checks = Checks::default();
        let order = Order::parse(
            &request.order_by,
            &[By::CreateTime],
            Order::NEWEST_FIRST,
            &mut checks,
        );
        let query = ["snapshots", &order.as_text()];
        let page = Page::parse(request.page_size, &request.page_token, &query, &mut checks);
        let mask = request.read_mask.as_ref();
        let mask = Mask::parse("read_mask", mask, "Snapshot", &mut checks);
        checks.finish()?;
        let mut all = hub.backend.vms.list_snapshots().await?;
        all.retain(|one| caller.sees_vm(&one.vm));
        let key = |one: &Snapshot| order.key(&one.id, one.created, &one.id);
        let convert = |one: &Snapshot| mask.apply(snapshot(one));
        let (snapshots, next_page_token) = page.cut(&all, order.descending, key, convert);
        Ok(ListSnapshotsResponse {
            snapshots,
            next_page_token,
        })
    }

    async fn create(
        &self,
        request: Request<CreateSnapshotRequest>,
    ) -> Result<Option<Operation>, Fault> {
        let hub = self.0.changing()?;
        let mut checks = Checks::default();
        let (ask, mut request) = Ask::of(request, &mut checks);
        VMS.id("vm", &request.vm, &mut checks);
        checks.finish()?;
        let asked = Work::CreateSnapshot(request.clone());
        let settle = async {
            request.vm = settled(hub, &ask.caller, &request.vm, "").await?;
            Ok(Work::CreateSnapshot(request))
        };
        change(hub, &ask, asked, settle).await
    }

    async fn delete(
        &self,
        request: Request<DeleteSnapshotRequest>,
    ) -> Result<Option<Operation>, Fault> {
        let hub = self.0.changing()?;
        let mut checks = Checks::default();
        let (ask, mut request) = Ask::of(request, &mut checks);
        SNAPSHOTS.id("name", &request.name, &mut checks);
        checks.finish()?;
        let asked = Work::DeleteSnapshot(request.clone());
        let settle = async {
            match find(hub, &ask.caller, &request.name).await {
                Ok(_) => {}
                Err(fault)
                    if request.allow_missing && fault.reason() == ErrorReason::SnapshotNotFound =>
                {
                    request.name.clear();
                }
                Err(fault) => return Err(fault),
            }
            Ok(Work::DeleteSnapshot(request))
        };
        change(hub, &ask, asked, settle).await
    }

    async fn restore(
        &self,
        request: Request<RestoreVmRequest>,
    ) -> Result<Option<Operation>, Fault> {
        let hub = self.0.changing()?;
        let mut checks = Checks::default();
        let (ask, mut request) = Ask::of(request, &mut checks);
        checks.absorb(restore_request(&request))?;
        checks.finish()?;
        let asked = Work::RestoreVm(request.clone());
        let settle = async {
            let kept = find(hub, &ask.caller, &request.snapshot).await?.vm;
            if request.session.is_empty() {
                check_session(&hub.backend, &kept).await?;
            } else {
                request.session = session::settled(hub, &ask.caller, &request.session).await?;
            }
            let need = of_kept(ask.caller.identity(), &kept);
            let room = hub.operations.admission().reserve(need).await?;
            Ok(Settled {
                work: Work::RestoreVm(request),
                room: Some(room),
            })
        };
        change(hub, &ask, asked, settle).await
    }
}

#[tonic::async_trait]
impl SnapshotService for Snapshots {
    async fn get_snapshot(
        &self,
        request: Request<GetSnapshotRequest>,
    ) -> Result<Response<GetSnapshotResponse>, Status> {
        let snapshot = Some(self.get(request).await?);
        Ok(Response::new(GetSnapshotResponse { snapshot }))
    }

    async fn list_snapshots(
        &self,
        request: Request<ListSnapshotsRequest>,
    ) -> Result<Response<ListSnapshotsResponse>, Status> {
        Ok(Response::new(self.list(request).await?))
    }

    async fn create_snapshot(
        &self,
        request: Request<CreateSnapshotRequest>,
    ) -> Result<Response<CreateSnapshotResponse>, Status> {
        let operation = self.create(request).await?;
        Ok(Response::new(CreateSnapshotResponse { operation }))
    }

    async fn delete_snapshot(
        &self,
        request: Request<DeleteSnapshotRequest>,
    ) -> Result<Response<DeleteSnapshotResponse>, Status> {
        let operation = self.delete(request).await?;
        Ok(Response::new(DeleteSnapshotResponse { operation }))
    }

    async fn restore_vm(
        &self,
        request: Request<RestoreVmRequest>,
    ) -> Result<Response<RestoreVmResponse>, Status> {
        let operation = self.restore(request).await?;
        Ok(Response::new(RestoreVmResponse { operation }))
    }
}
