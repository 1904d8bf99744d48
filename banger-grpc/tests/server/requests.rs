//! Requests that come twice, at once, changed, or wrong.

use std::{collections::BTreeSet, time::Duration};

use banger_api::v1::{CreateVmRequest, GetOperationRequest, ListVmsRequest, StopVmRequest, VmSpec};
use banger_grpc::server::Limits;
use futures_util::future::join_all;
use tonic::{Code, Request};
use tonic_types::StatusExt as _;

use super::harness::{LARGE, Running, fresh, pull, reason, succeeded, wait};

fn create(request_id: &str) -> CreateVmRequest {
    CreateVmRequest {
        request_id: request_id.to_owned(),
        image: "images/small".to_owned(),
        spec: Some(VmSpec {
            disk_bytes: 16 << 20,
            ..VmSpec::default()
        }),
        wait: wait(60),
        ..CreateVmRequest::default()
    }
}

#[tokio::test]
async fn a_request_that_comes_many_times_at_once_makes_one_machine() {
    let running = Running::serving(Limits::default()).await;
    running.prepare().await;
    let ids: Vec<String> = (0..5).map(|_| fresh()).collect();
    let calls = ids.iter().flat_map(|id| [id; 4]).map(|id| {
        let mut vms = running.vms();
        async move { vms.create_vm(create(id)).await.unwrap().into_inner() }
    });
    let answers = join_all(calls).await;
    let made = answers
        .into_iter()
        .map(|answer| succeeded(answer.operation));
    let operations: BTreeSet<String> = made.map(|one| one.name).collect();
    assert_eq!(operations.len(), ids.len());
    let listed = running
        .vms()
        .list_vms(ListVmsRequest::default())
        .await
        .unwrap();
    let listed = listed.into_inner().vms;
    assert_eq!(listed.len(), ids.len());
    let makers: BTreeSet<String> = listed
        .iter()
        .map(|vm| vm.create_operation.clone())
        .collect();
    assert_eq!(makers, operations);
    // the server's own label is none of the user's
    assert!(
        listed
            .iter()
            .all(|vm| vm.spec.as_ref().unwrap().labels.is_empty())
    );

    let other = CreateVmRequest {
        vm_id: "other".to_owned(),
        ..create(&ids[0])
    };
    let refused = running.vms().create_vm(other).await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists);
    assert_eq!(reason(&refused), "REQUEST_ID_REUSED");
    // how long somebody waits makes no other request
    let impatient = CreateVmRequest {
        wait: None,
        ..create(&ids[0])
    };
    let known = running
        .vms()
        .create_vm(impatient)
        .await
        .unwrap()
        .into_inner();
    assert!(operations.contains(&succeeded(known.operation).name));
}

#[tokio::test]
async fn whoever_asks_for_what_is_being_pulled_gets_that_operation() {
    let running = Running::serving(Limits::default()).await;
    running.import_kernel().await;
    let (first, second) = (pull(LARGE), pull(LARGE));
    let (mut images, mut others) = (running.images(), running.images());
    let (first, second) = tokio::join!(images.pull_image(first), others.pull_image(second));
    let first = first.unwrap().into_inner().operation.unwrap();
    let second = second.unwrap().into_inner().operation.unwrap();
    assert_eq!(first.name, second.name);
}

#[tokio::test]
async fn a_deadline_that_cannot_be_met_loses_nothing() {
    let running = Running::serving(Limits::default()).await;
    running.prepare().await;
    let id = fresh();
    for _ in 0..20 {
        let mut request = Request::new(create(&id));
        request.set_timeout(Duration::from_millis(1));
        if let Err(status) = running.vms().create_vm(request).await {
            let code = status.code();
            assert!(
                matches!(code, Code::DeadlineExceeded | Code::Cancelled),
                "{status}"
            );
        }
    }
    let made = running
        .vms()
        .create_vm(create(&id))
        .await
        .unwrap()
        .into_inner();
    let made = succeeded(made.operation);
    let listed = running
        .vms()
        .list_vms(ListVmsRequest::default())
        .await
        .unwrap();
    assert_eq!(listed.into_inner().vms.len(), 1);
    let name = format!("operations/by-request/{id}");
    let found = running
        .operations()
        .get_operation(GetOperationRequest { name })
        .await;
    assert_eq!(
        found.unwrap().into_inner().operation.unwrap().name,
        made.name
    );
}

#[tokio::test]
async fn everything_that_is_wrong_is_told_at_once() {
    let running = Running::serving(Limits::default()).await;
    let wrong = CreateVmRequest {
        request_id: "mine".to_owned(),
        image: "small".to_owned(),
        vm_id: "Not A Name".to_owned(),
        spec: Some(VmSpec {
            boot_mode: 99,
            backend: "bochs".to_owned(),
            labels: [("banger.operation".to_owned(), "x".to_owned())].into(),
            env: vec!["nothing".to_owned()],
            ..VmSpec::default()
        }),
        ..CreateVmRequest::default()
    };
    let refused = running.vms().create_vm(wrong).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(reason(&refused), "INVALID_REQUEST");
    let details = refused.get_error_details();
    let fields = &details.bad_request().unwrap().field_violations;
    let fields: BTreeSet<&str> = fields.iter().map(|one| one.field.as_str()).collect();
    let expected = [
        "image",
        "request_id",
        "spec.backend",
        "spec.boot_mode",
        "spec.env",
        "spec.labels",
        "vm_id",
    ];
    assert_eq!(fields, expected.into());
}

#[tokio::test]
async fn what_does_not_exist_is_told_before_anything_is_begun() {
    let running = Running::serving(Limits::default()).await;
    let missing = running.vms().create_vm(create(&fresh())).await.unwrap_err();
    assert_eq!(
        (missing.code(), reason(&missing).as_str()),
        (Code::NotFound, "IMAGE_NOT_FOUND")
    );
    let stop = StopVmRequest {
        request_id: fresh(),
        name: "vms/nobody".to_owned(),
        ..StopVmRequest::default()
    };
    let missing = running.vms().stop_vm(stop.clone()).await.unwrap_err();
    assert_eq!(
        (missing.code(), reason(&missing).as_str()),
        (Code::NotFound, "VM_NOT_FOUND")
    );
    let name = format!("operations/by-request/{}", stop.request_id);
    let unknown = running
        .operations()
        .get_operation(GetOperationRequest { name })
        .await;
    assert_eq!(reason(&unknown.unwrap_err()), "OPERATION_NOT_FOUND");
}
