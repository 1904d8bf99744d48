//! Etags of machines that changed.

use banger_api::v1::{
    DeleteVmRequest, GetOperationRequest, GetVmRequest, StopVmRequest, Vm, operation::Outcome,
};
use banger_grpc::server::Limits;
use tonic::Code;

use super::harness::{Running, create, fresh, reason, succeeded, wait};

async fn unrecorded(running: &Running, request_id: &str) {
    let name = format!("operations/by-request/{request_id}");
    let request = GetOperationRequest { name };
    let asked = running.operations().get_operation(request).await;
    assert_eq!(reason(&asked.unwrap_err()), "OPERATION_NOT_FOUND");
}

#[tokio::test]
async fn a_machine_that_changed_is_refused_before_anything_is_recorded() {
    let running = Running::serving(Limits::default()).await;
    running.prepare().await;
    let made = running.vms().create_vm(create("a")).await.unwrap();
    succeeded(made.into_inner().operation);
    let (name, etag) = ("vms/a".to_owned(), "other".to_owned());
    let stop = StopVmRequest {
        request_id: fresh(),
        name: name.clone(),
        etag: etag.clone(),
        ..StopVmRequest::default()
    };
    let refused = running.vms().stop_vm(stop.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Aborted);
    assert_eq!(reason(&refused), "VM_CHANGED");
    unrecorded(&running, &stop.request_id).await;
    let delete = DeleteVmRequest {
        request_id: fresh(),
        name: name.clone(),
        etag,
        ..DeleteVmRequest::default()
    };
    let refused = running.vms().delete_vm(delete.clone()).await.unwrap_err();
    assert_eq!(reason(&refused), "VM_CHANGED");
    unrecorded(&running, &delete.request_id).await;

    let now = running.vms().get_vm(GetVmRequest { name }).await.unwrap();
    let Vm { etag, .. } = now.into_inner().vm.unwrap();
    let delete = DeleteVmRequest {
        request_id: fresh(),
        etag,
        wait: wait(60),
        ..delete
    };
    let deleted = running.vms().delete_vm(delete).await.unwrap();
    let deleted = succeeded(deleted.into_inner().operation);
    assert!(matches!(deleted.outcome, Some(Outcome::Vm(_))));
}
