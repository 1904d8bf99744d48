//! `VmService`.

use banger_api::v1::{
    self, CreateVmRequest, CreateVmResponse, DeleteVmRequest, DeleteVmResponse, ErrorReason,
    GetVmRequest, GetVmResponse, GetVmStatsRequest, GetVmStatsResponse, ListVmsRequest,
    ListVmsResponse, Operation, PauseVmRequest, PauseVmResponse, ReadVmLogRequest,
    RenewLeaseRequest, RenewLeaseResponse, ResumeVmRequest, ResumeVmResponse, StartVmRequest,
    StartVmResponse, StopVmRequest, StopVmResponse, UpdateVmRequest, UpdateVmResponse,
    vm_service_server::VmService,
};
use banger_core::{
    domain::{Selector, Vm, Volume},
    vm::VmQueryError,
};
use tonic::{Request, Response, Status};

use super::{Ask, change, image, session, vm_change, vm_list::list, vm_read};
use crate::{
    access::check_host_files,
    backend::{Front, Hub},
    caller::Caller,
    convert::vm::vm,
    fault::Fault,
    operations::{
        Settled, Work, check_session, create_request, have_host_path, of_create, of_start,
        settle_volumes,
    },
    request::{
        Checks, MAX_WAIT, caller,
        name::{IMAGES, SESSIONS, VMS},
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

/// The machine that is meant, as far as its etag is known.
pub(super) async fn named(hub: &Hub, caller: &Caller, name: &str, etag: &str) -> Result<Vm, Fault> {
    let id = name.strip_prefix("vms/").unwrap_or_default();
    let vm = find(hub, caller, id).await?;
    Fault::unless_etag(&vm, etag)?;
    Ok(vm)
}

/// The name of the machine that is meant, by its id: from here on it is that one and
/// no other of its name.
pub(super) async fn settled(
    hub: &Hub,
    caller: &Caller,
    name: &str,
    etag: &str,
) -> Result<String, Fault> {
    Ok(VMS.name(named(hub, caller, name, etag).await?.id))
}

/// Whether there is no such machine.
fn is_missing(fault: &Fault) -> bool {
    fault.reason() == ErrorReason::VmNotFound
}

/// Fails as making the machine would.
async fn validate(hub: &Hub, caller: &Caller, request: &CreateVmRequest) -> Result<(), Fault> {
    let wanted = create_request(request)?;
    if !request.session.is_empty() {
        session::settled(hub, caller, &request.session).await?;
    }
    image::find(hub, wanted.image.as_str()).await?;
    check_host_files(caller, have_host_path(request.spec.as_ref()))?;
    let mut volumes = request.spec.clone().unwrap_or_default().volumes;
    settle_volumes(&hub.backend, &mut volumes, |one| caller.sees_volume(one)).await?;
    hub.backend.vms.check(&wanted).await?;
    let need = of_create(caller.identity(), &wanted, request.start);
    hub.operations.admission().check(&need).await
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

    async fn create(&self, request: Request<CreateVmRequest>) -> Result<Option<Operation>, Fault> {
        let hub = self.0.changing()?;
        let mut checks = Checks::default();
        let (ask, mut request) = Ask::of(request, &mut checks);
        if request.validate_only {
            return validate(hub, &ask.caller, &request).await.map(|()| None);
        }
        check_host_files(&ask.caller, have_host_path(request.spec.as_ref()))?;
        checks.absorb(create_request(&request))?;
        checks.finish()?;
        let asked = Work::CreateVm(request.clone());
        let settle = async {
            let id = request.image.strip_prefix("images/").unwrap_or_default();
            let image = image::find(hub, id).await?;
            request.image = IMAGES.name(image.id);
            if !request.session.is_empty() {
                request.session = session::settled(hub, &ask.caller, &request.session).await?;
            }
            if let Some(spec) = &mut request.spec {
                let sees = |one: &Volume| ask.caller.sees_volume(one);
                settle_volumes(&hub.backend, &mut spec.volumes, sees).await?;
            }
            let need = of_create(
                ask.caller.identity(),
                &create_request(&request)?,
                request.start,
            );
            let room = hub.operations.admission().reserve(need).await?;
            Ok(Settled {
                work: Work::CreateVm(request),
                room: Some(room),
            })
        };
        change(hub, &ask, asked, settle).await
    }

    async fn start(&self, request: Request<StartVmRequest>) -> Result<Option<Operation>, Fault> {
        let hub = self.0.changing()?;
        let mut checks = Checks::default();
        let (ask, mut request) = Ask::of(request, &mut checks);
        VMS.id("name", &request.name, &mut checks);
        if !request.session.is_empty() {
            SESSIONS.id("session", &request.session, &mut checks);
        }
        checks.finish()?;
        let asked = Work::StartVm(request.clone());
        let settle = async {
            let vm = named(hub, &ask.caller, &request.name, "").await?;
            check_session(&hub.backend, &vm).await?;
            if !request.session.is_empty() {
                request.session = session::settled(hub, &ask.caller, &request.session).await?;
            }
            request.name = VMS.name(vm.id);
            let room = match of_start(ask.caller.identity(), &vm) {
                Some(need) => Some(hub.operations.admission().reserve(need).await?),
                None => None,
            };
            Ok(Settled {
                work: Work::StartVm(request),
                room,
            })
        };
        change(hub, &ask, asked, settle).await
    }

    async fn stop(&self, request: Request<StopVmRequest>) -> Result<Option<Operation>, Fault> {
        let hub = self.0.changing()?;
        let mut checks = Checks::default();
        let (ask, mut request) = Ask::of(request, &mut checks);
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
            request.name = settled(hub, &ask.caller, &request.name, &request.etag).await?;
            Ok(Work::StopVm(request))
        };
        change(hub, &ask, asked, settle).await
    }

    async fn delete(&self, request: Request<DeleteVmRequest>) -> Result<Option<Operation>, Fault> {
        let hub = self.0.changing()?;
        let mut checks = Checks::default();
        let (ask, mut request) = Ask::of(request, &mut checks);
        VMS.id("name", &request.name, &mut checks);
        checks.finish()?;
        let asked = Work::DeleteVm(request.clone());
        let settle = async {
            request.name = match settled(hub, &ask.caller, &request.name, &request.etag).await {
                Ok(name) => name,
                Err(fault) if is_missing(&fault) && request.allow_missing => String::new(),
                Err(fault) => return Err(fault),
            };
            Ok(Work::DeleteVm(request))
        };
        change(hub, &ask, asked, settle).await
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
        let hub = self.0.reading()?;
        let caller = caller(&request);
        Ok(Response::new(list(hub, &caller, request.get_ref()).await?))
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

    async fn update_vm(
        &self,
        request: Request<UpdateVmRequest>,
    ) -> Result<Response<UpdateVmResponse>, Status> {
        let hub = self.0.changing()?;
        Ok(Response::new(vm_change::update(hub, request).await?))
    }

    async fn pause_vm(
        &self,
        request: Request<PauseVmRequest>,
    ) -> Result<Response<PauseVmResponse>, Status> {
        let operation = vm_change::pause(self.0.changing()?, request).await?;
        Ok(Response::new(PauseVmResponse { operation }))
    }

    async fn resume_vm(
        &self,
        request: Request<ResumeVmRequest>,
    ) -> Result<Response<ResumeVmResponse>, Status> {
        let operation = vm_change::resume(self.0.changing()?, request).await?;
        Ok(Response::new(ResumeVmResponse { operation }))
    }

    async fn renew_lease(
        &self,
        request: Request<RenewLeaseRequest>,
    ) -> Result<Response<RenewLeaseResponse>, Status> {
        let (hub, _acting) = self.0.acting()?;
        let vm = Some(vm_change::renew(hub, &caller(&request), request.get_ref()).await?);
        Ok(Response::new(RenewLeaseResponse { vm }))
    }

    async fn get_vm_stats(
        &self,
        request: Request<GetVmStatsRequest>,
    ) -> Result<Response<GetVmStatsResponse>, Status> {
        let hub = self.0.reading()?;
        let (caller, request) = (caller(&request), request.into_inner());
        Ok(Response::new(vm_read::stats(hub, &caller, &request).await?))
    }

    type ReadVmLogStream = vm_read::LogPieces;

    async fn read_vm_log(
        &self,
        request: Request<ReadVmLogRequest>,
    ) -> Result<Response<vm_read::LogPieces>, Status> {
        let hub = self.0.reading()?;
        let (caller, request) = (caller(&request), request.into_inner());
        Ok(Response::new(vm_read::log(hub, &caller, &request).await?))
    }
}
