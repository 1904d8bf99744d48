//! Changing, pausing and keeping machines.

use banger_api::v1::{
    self, ErrorReason, Operation, PauseVmRequest, RenewLeaseRequest, ResumeVmRequest,
    UpdateVmRequest, UpdateVmResponse,
};
use banger_core::{domain::Selector, vm::SetVm};
use tonic::Request;

use super::{
    Ask, change,
    vm::{named, settled},
};
use crate::{
    backend::Hub,
    caller::Caller,
    convert::{spec, vm::vm},
    fault::Fault,
    operations::{Settled, Work, update_request},
    request::{Checks, name::VMS},
};

pub(super) async fn update(
    hub: &Hub,
    request: Request<UpdateVmRequest>,
) -> Result<UpdateVmResponse, Fault> {
    let mut checks = Checks::default();
    let (ask, mut request) = Ask::of(request, &mut checks);
    if request.validate_only {
        return plan(hub, &ask.caller, &request).await;
    }
    checks.absorb(update_request(&request))?;
    checks.finish()?;
    let asked = Work::UpdateVm(request.clone());
    let settle = async {
        let asked = request.vm.get_or_insert_default();
        let vm = named(hub, &ask.caller, &asked.name, &request.etag).await?;
        asked.name = VMS.name(vm.id);
        let need = update_request(&request)?.need(ask.caller.identity(), &vm);
        let room = match need {
            Some(need) => Some(hub.operations.admission().reserve(need).await?),
            None => None,
        };
        Ok(Settled {
            work: Work::UpdateVm(request),
            room,
        })
    };
    Ok(UpdateVmResponse {
        operation: change(hub, &ask, asked, settle).await?,
        plan: Vec::new(),
    })
}

/// What the change would do.
async fn plan(
    hub: &Hub,
    caller: &Caller,
    request: &UpdateVmRequest,
) -> Result<UpdateVmResponse, Fault> {
    let update = update_request(request)?;
    let name = request.vm.as_ref().map(|vm| vm.name.as_str());
    let vm = named(hub, caller, name.unwrap_or_default(), &request.etag).await?;
    hub.backend.vms.check(&update.would_be(&vm)?).await?;
    if let Some(need) = update.need(caller.identity(), &vm) {
        hub.operations.admission().check(&need).await?;
    }
    Ok(UpdateVmResponse {
        operation: None,
        plan: update.plan(&vm),
    })
}

pub(super) async fn pause(
    hub: &Hub,
    request: Request<PauseVmRequest>,
) -> Result<Option<Operation>, Fault> {
    let mut checks = Checks::default();
    let (ask, mut request) = Ask::of(request, &mut checks);
    VMS.id("name", &request.name, &mut checks);
    checks.finish()?;
    let asked = Work::PauseVm(request.clone());
    let settle = async {
        request.name = settled(hub, &ask.caller, &request.name, "").await?;
        Ok(Work::PauseVm(request))
    };
    change(hub, &ask, asked, settle).await
}

pub(super) async fn resume(
    hub: &Hub,
    request: Request<ResumeVmRequest>,
) -> Result<Option<Operation>, Fault> {
    let mut checks = Checks::default();
    let (ask, mut request) = Ask::of(request, &mut checks);
    VMS.id("name", &request.name, &mut checks);
    checks.finish()?;
    let asked = Work::ResumeVm(request.clone());
    let settle = async {
        request.name = settled(hub, &ask.caller, &request.name, "").await?;
        Ok(Work::ResumeVm(request))
    };
    change(hub, &ask, asked, settle).await
}

/// Grants a lease anew. Doing it twice is doing it at the later time.
pub(super) async fn renew(
    hub: &Hub,
    caller: &Caller,
    request: &RenewLeaseRequest,
) -> Result<v1::Vm, Fault> {
    let mut checks = Checks::default();
    VMS.id("name", &request.name, &mut checks);
    let wanted = request.lease.as_ref();
    let wanted = wanted.map(|lease| spec::lease("lease", lease, &mut checks));
    checks.finish()?;
    let found = named(hub, caller, &request.name, "").await?;
    let present = found.spec.lease.as_ref().map(|granted| granted.lease);
    let Some(lease) = wanted.or(present) else {
        let message = format!("VM {} has no lease to renew", found.name);
        let fault = Fault::new(ErrorReason::VmWrongState, message);
        return Err(fault.fact("state", found.state.as_str()));
    };
    let set = SetVm {
        lease: Some(Some(lease)),
        ..SetVm::default()
    };
    let id = Selector::from(found.id.to_string().as_str());
    Ok(vm(&hub.backend.vms.set(&id, set).await?))
}
