//! `VmService`.

use banger_api::v1::{
    self, CreateVmRequest, CreateVmResponse, DeleteVmRequest, DeleteVmResponse, GetVmRequest,
    GetVmResponse, ListVmsRequest, ListVmsResponse, Operation, StartVmRequest, StartVmResponse,
    StopVmRequest, StopVmResponse, vm_service_server::VmService,
};
use banger_core::{
    domain::{Selector, Vm},
    vm::VmQueryError,
};
use tonic::{Request, Response, Status};

use super::{Ask, change, image};
use crate::{
    backend::{Front, Hub},
    caller::Caller,
    convert::vm::vm,
    fault::Fault,
    operations::{Work, create_request},
    request::{
        Checks, MAX_WAIT, caller,
        filter::Filter,
        name::{IMAGES, VMS},
        page::Page,
    },
};

/// Over the core's machines.
#[derive(Debug)]
pub(crate) struct Vms(pub(crate) Front);

/// The machine with exactly that name or id: the core takes parts of ids, too, and a
/// program that means one machine must not get another. One that is not the caller's is
/// not there.
pub(crate) async fn find(hub: &Hub, caller: &Caller, id: &str) -> Result<Vm, VmQueryError> {
    let selector = Selector::from(id);
    let found = match hub.backend.vms.show(&selector).await {
        Err(VmQueryError::Ambiguous { .. }) => None,
        found => Some(found?),
    };
    let is_meant = |vm: &Vm| vm.name.as_str() == id || vm.id.to_string() == id;
    let found = found.filter(|vm| is_meant(vm) && caller.sees_vm(vm));
    found.ok_or(VmQueryError::NotFound { selector })
}

/// The name of the machine that is meant, by its id: from here on it is that one and
/// no other of its name.
async fn settled(hub: &Hub, caller: &Caller, name: &str) -> Result<String, VmQueryError> {
    let id = name.strip_prefix("vms/").unwrap_or_default();
    Ok(VMS.name(find(hub, caller, id).await?.id))
}

impl Vms {
    async fn get(&self, request: Request<GetVmRequest>) -> Result<v1::Vm, Fault> {
        let hub = self.0.reading()?;
        let (caller, request) = (caller(&request), request.into_inner());
        let mut checks = Checks::default();
        let id = VMS.id("name", &request.name, &mut checks);
        checks.finish()?;
        Ok(vm(&find(hub, &caller, id.unwrap_or_default()).await?))
    }

    async fn list(&self, request: Request<ListVmsRequest>) -> Result<ListVmsResponse, Fault> {
        let hub = self.0.reading()?;
        let (caller, request) = (caller(&request), request.into_inner());
        let mut checks = Checks::default();
        let query = ["vms", request.filter.as_str()];
        let page = Page::parse(request.page_size, &request.page_token, &query, &mut checks);
        let filter = checks.parse::<Filter>("filter", &request.filter);
        checks.finish()?;
        let filter = filter.unwrap_or_default();
        let mut all = hub.backend.vms.list().await?;
        all.retain(|one| caller.sees_vm(one) && filter.matches(one));
        let (vms, next_page_token) = page.cut(&all, |one| one.name.to_string(), vm);
        Ok(ListVmsResponse {
            vms,
            next_page_token,
        })
    }

    async fn create(&self, request: Request<CreateVmRequest>) -> Result<Option<Operation>, Fault> {
        let hub = self.0.changing()?;
        let (caller, mut request) = (caller(&request), request.into_inner());
        let mut checks = Checks::default();
        let ask = Ask::new(
            caller,
            &mut request.request_id,
            &mut request.wait,
            &mut checks,
        );
        checks.absorb(create_request(&request))?;
        checks.finish()?;
        let asked = Work::CreateVm(request.clone());
        let settle = async {
            let id = request.image.strip_prefix("images/").unwrap_or_default();
            let image = image::find(hub, id).await?;
            request.image = IMAGES.name(image.id);
            Ok(Work::CreateVm(request))
        };
        change(hub, ask, asked, settle).await
    }

    async fn start(&self, request: Request<StartVmRequest>) -> Result<Option<Operation>, Fault> {
        let hub = self.0.changing()?;
        let (caller, mut request) = (caller(&request), request.into_inner());
        let mut checks = Checks::default();
        let ask = Ask::new(
            caller.clone(),
            &mut request.request_id,
            &mut request.wait,
            &mut checks,
        );
        VMS.id("name", &request.name, &mut checks);
        checks.finish()?;
        let asked = Work::StartVm(request.clone());
        let settle = async {
            request.name = settled(hub, &caller, &request.name).await?;
            Ok(Work::StartVm(request))
        };
        change(hub, ask, asked, settle).await
    }

    async fn stop(&self, request: Request<StopVmRequest>) -> Result<Option<Operation>, Fault> {
        let hub = self.0.changing()?;
        let (caller, mut request) = (caller(&request), request.into_inner());
        let mut checks = Checks::default();
        let ask = Ask::new(
            caller.clone(),
            &mut request.request_id,
            &mut request.wait,
            &mut checks,
        );
        VMS.id("name", &request.name, &mut checks);
        if checks
            .duration("grace", request.grace)
            .is_some_and(|grace| MAX_WAIT < grace)
        {
            checks.violated("grace", "is longer than 10 minutes");
        }
        checks.finish()?;
        let asked = Work::StopVm(request.clone());
        let settle = async {
            request.name = settled(hub, &caller, &request.name).await?;
            Ok(Work::StopVm(request))
        };
        change(hub, ask, asked, settle).await
    }

    async fn delete(&self, request: Request<DeleteVmRequest>) -> Result<Option<Operation>, Fault> {
        let hub = self.0.changing()?;
        let (caller, mut request) = (caller(&request), request.into_inner());
        let mut checks = Checks::default();
        let ask = Ask::new(
            caller.clone(),
            &mut request.request_id,
            &mut request.wait,
            &mut checks,
        );
        VMS.id("name", &request.name, &mut checks);
        checks.finish()?;
        let asked = Work::DeleteVm(request.clone());
        let settle = async {
            request.name = match settled(hub, &caller, &request.name).await {
                Ok(name) => name,
                Err(VmQueryError::NotFound { .. }) if request.allow_missing => String::new(),
                Err(error) => return Err(error.into()),
            };
            Ok(Work::DeleteVm(request))
        };
        change(hub, ask, asked, settle).await
    }
}

#[tonic::async_trait]
impl VmService for Vms {
    async fn get_vm(
        &self,
        request: Request<GetVmRequest>,
    ) -> Result<Response<GetVmResponse>, Status> {
        let vm = Some(self.get(request).await?);
        Ok(Response::new(GetVmResponse { vm }))
    }

    async fn list_vms(
        &self,
        request: Request<ListVmsRequest>,
    ) -> Result<Response<ListVmsResponse>, Status> {
        Ok(Response::new(self.list(request).await?))
    }

    async fn create_vm(
        &self,
        request: Request<CreateVmRequest>,
    ) -> Result<Response<CreateVmResponse>, Status> {
        let operation = self.create(request).await?;
        Ok(Response::new(CreateVmResponse { operation }))
    }

    async fn start_vm(
        &self,
        request: Request<StartVmRequest>,
    ) -> Result<Response<StartVmResponse>, Status> {
        let operation = self.start(request).await?;
        Ok(Response::new(StartVmResponse { operation }))
    }

    async fn stop_vm(
        &self,
        request: Request<StopVmRequest>,
    ) -> Result<Response<StopVmResponse>, Status> {
        let operation = self.stop(request).await?;
        Ok(Response::new(StopVmResponse { operation }))
    }

    async fn delete_vm(
        &self,
        request: Request<DeleteVmRequest>,
    ) -> Result<Response<DeleteVmResponse>, Status> {
        let operation = self.delete(request).await?;
        Ok(Response::new(DeleteVmResponse { operation }))
    }
}
