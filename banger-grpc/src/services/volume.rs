//! `VolumeService`.

use banger_api::v1::{
    self, CreateVolumeRequest, CreateVolumeResponse, DeleteVolumeRequest, DeleteVolumeResponse,
    ErrorReason, GetVolumeRequest, GetVolumeResponse, ListVolumesRequest, ListVolumesResponse,
    Operation, volume_service_server::VolumeService,
};
use banger_core::{
    domain::{Volume, VolumeName},
    volume::VolumeQueryError,
};
use tonic::{Request, Response, Status};

use super::{Ask, change};
use crate::{
    backend::{Front, Hub},
    caller::Caller,
    convert::volume::{volume, volume_uid},
    fault::{Fault, volume_not_found},
    operations::{Settled, Work, of_volume, volume_request},
    request::{
        Checks, caller,
        mask::Mask,
        name::VOLUMES,
        order::{By, Order},
        page::Page,
    },
};

/// Over the core's volumes.
#[derive(Debug)]
pub(crate) struct Volumes(pub(crate) Front);

/// The name of the volume that is meant.
fn name(name: &str, mut checks: Checks) -> Result<VolumeName, Fault> {
    let id = VOLUMES.id("name", name, &mut checks);
    let name = id.and_then(|id| checks.parse("name", id));
    checks.finish()?;
    // it is there, or the checks had not finished
    name.ok_or_else(|| Fault::invalid(Vec::new()))
}

/// The volume of that name. One that is not the caller's is not there.
async fn find(hub: &Hub, caller: &Caller, name: &VolumeName) -> Result<Volume, Fault> {
    let found = hub.backend.volumes.show(name).await;
    match found {
        Ok(volume) if caller.sees_volume(&volume) => Ok(volume),
        Ok(_) | Err(VolumeQueryError::NotFound { .. }) => Err(volume_not_found(name)),
        Err(error) => Err(error.into()),
    }
}

impl Volumes {
    async fn get(&self, request: Request<GetVolumeRequest>) -> Result<v1::Volume, Fault> {
        let hub = self.0.reading()?;
        let (caller, request) = (caller(&request), request.into_inner());
        let name = name(&request.name, Checks::default())?;
        Ok(volume(&find(hub, &caller, &name).await?))
    }

    async fn list(
        &self,
        request: Request<ListVolumesRequest>,
    ) -> Result<ListVolumesResponse, Fault> {
        let hub = self.0.reading()?;
        let (caller, request) = (caller(&request), request.into_inner());
        let mut checks = Checks::default();
        let fields = [By::Name, By::CreateTime];
        let order = Order::parse(&request.order_by, &fields, Order::BY_NAME, &mut checks);
        let query = ["volumes", &order.as_text()];
        let page = Page::parse(request.page_size, &request.page_token, &query, &mut checks);
        let mask = request.read_mask.as_ref();
        let mask = Mask::parse("read_mask", mask, "Volume", &mut checks);
        checks.finish()?;
        let mut all = hub.backend.volumes.list().await?;
        all.retain(|one| caller.sees_volume(one));
        let key = |one: &Volume| order.key(&one.name, one.created, &one.name);
        let convert = |one: &Volume| mask.apply(volume(one));
        let (volumes, next_page_token) = page.cut(&all, order.descending, key, convert);
        Ok(ListVolumesResponse {
            volumes,
            next_page_token,
        })
    }

    async fn create(
        &self,
        request: Request<CreateVolumeRequest>,
    ) -> Result<Option<Operation>, Fault> {
        let hub = self.0.changing()?;
        let mut checks = Checks::default();
        let (ask, request) = Ask::of(request, &mut checks);
        checks.absorb(volume_request(&request))?;
        checks.finish()?;
        let asked = Work::CreateVolume(request.clone());
        let settle = async {
            let need = of_volume(ask.caller.identity(), &volume_request(&request)?);
            let room = hub.operations.admission().reserve(need).await?;
            Ok(Settled {
                work: Work::CreateVolume(request),
                room: Some(room),
            })
        };
        change(hub, &ask, asked, settle).await
    }

    async fn delete(
        &self,
        request: Request<DeleteVolumeRequest>,
    ) -> Result<Option<Operation>, Fault> {
        let hub = self.0.changing()?;
        let mut checks = Checks::default();
        let (ask, request) = Ask::of(request, &mut checks);
        let name = name(&request.name, checks)?;
        let asked = Work::DeleteVolume(request.clone());
        change(hub, &ask, asked, settle(hub, &ask.caller, name, request)).await
    }
}

/// From here on it is that volume and no other of its name.
async fn settle(
    hub: &Hub,
    caller: &Caller,
    name: VolumeName,
    mut request: DeleteVolumeRequest,
) -> Result<Work, Fault> {
    let found = find(hub, caller, &name).await.and_then(|one| {
        let uid = volume_uid(&one);
        let is_meant = request.uid.is_empty() || request.uid == uid;
        is_meant
            .then_some(uid)
            .ok_or_else(|| volume_not_found(&name))
    });
    match found {
        Ok(uid) => request.uid = uid,
        Err(fault) if request.allow_missing && fault.reason() == ErrorReason::VolumeNotFound => {
            request.name.clear();
        }
        Err(fault) => return Err(fault),
    }
    Ok(Work::DeleteVolume(request))
}

#[tonic::async_trait]
impl VolumeService for Volumes {
    async fn get_volume(
        &self,
        request: Request<GetVolumeRequest>,
    ) -> Result<Response<GetVolumeResponse>, Status> {
        let volume = Some(self.get(request).await?);
        Ok(Response::new(GetVolumeResponse { volume }))
    }

    async fn list_volumes(
        &self,
        request: Request<ListVolumesRequest>,
    ) -> Result<Response<ListVolumesResponse>, Status> {
        Ok(Response::new(self.list(request).await?))
    }

    async fn create_volume(
        &self,
        request: Request<CreateVolumeRequest>,
    ) -> Result<Response<CreateVolumeResponse>, Status> {
        let operation = self.create(request).await?;
        Ok(Response::new(CreateVolumeResponse { operation }))
    }

    async fn delete_volume(
        &self,
        request: Request<DeleteVolumeRequest>,
    ) -> Result<Response<DeleteVolumeResponse>, Status> {
        let operation = self.delete(request).await?;
        Ok(Response::new(DeleteVolumeResponse { operation }))
    }
}
