//! The client crate against the server.

use std::time::Duration;

use banger_api::v1::{CreateVmRequest, DeleteVmRequest, ErrorReason, ListVmsRequest, VmSpec};
use banger_client::{Client, kind_of_reason};
use banger_core::ErrorKind;
use banger_grpc::{fault::reason_of_kind, server::Limits};

use super::harness::{HASTY, Running};

fn client(running: &Running, budget: Duration) -> Client {
    Client::connect(&running.socket(), budget).unwrap()
}

fn create(name: &str) -> CreateVmRequest {
    CreateVmRequest {
        image: "images/small".to_owned(),
        vm_id: name.to_owned(),
        spec: Some(VmSpec {
            disk_bytes: 16 << 20,
            ..VmSpec::default()
        }),
        ..CreateVmRequest::default()
    }
}

#[test]
fn a_kind_comes_back_as_itself() {
    for kind in ErrorKind::ALL {
        assert_eq!(kind_of_reason(reason_of_kind(kind)), kind);
    }
}

#[tokio::test]
async fn servers_come_and_go_and_the_client_does_not_care() {
    let running = Running::serving(HASTY).await;
    running.prepare().await;
    let client = client(&running, Duration::from_mins(1));
    let made = async {
        let names: Vec<String> = (0..30).map(|number| format!("vm-{number:02}")).collect();
        for name in &names {
            let operation = client.change(create(name)).await.unwrap();
            assert_eq!(operation.target, format!("vms/{name}"));
        }
        names.len()
    };
    let restarts = async move {
        let mut running = running;
        loop {
            tokio::time::sleep(Duration::from_millis(150)).await;
            running = running.again(HASTY).await;
        }
    };
    let made = tokio::select! {
        made = made => made,
        never = restarts => never,
    };
    assert_eq!(made, 30);
}

#[tokio::test]
async fn failures_have_the_kinds_and_facts_of_the_cores() {
    let running = Running::serving(Limits::default()).await;
    running.prepare().await;
    let client = client(&running, Duration::from_secs(30));
    let made = client.change(create("one")).await.unwrap();
    let taken = client.change(create("one")).await.unwrap_err();
    assert_eq!(taken.kind, ErrorKind::AlreadyExists);
    assert_eq!(taken.reason, Some(ErrorReason::VmExists));
    let lost = client.operation_of_request(&made.request_id).await.unwrap();
    assert_eq!(lost.name, made.name);
    let mut wrong = create("two");
    wrong.spec.as_mut().unwrap().vcpus = 1000;
    let wrong = client.change(wrong).await.unwrap_err();
    assert_eq!(wrong.kind, ErrorKind::InvalidInput, "{wrong}");
    let delete = DeleteVmRequest {
        name: "vms/one".to_owned(),
        ..DeleteVmRequest::default()
    };
    client.change(delete.clone()).await.unwrap();
    let gone = client.change(delete).await.unwrap_err();
    assert_eq!(
        (gone.kind, gone.reason),
        (ErrorKind::NotFound, Some(ErrorReason::VmNotFound))
    );
    let listed = client
        .vms()
        .list_vms(ListVmsRequest::default())
        .await
        .unwrap();
    assert!(listed.into_inner().vms.is_empty());
}

#[tokio::test]
async fn without_a_server_a_call_takes_its_budget_and_no_more() {
    let running = Running::start(Limits::default()).await;
    let client = client(&running, Duration::from_millis(400));
    // it starts for ever
    let late = client.change(create("one")).await.unwrap_err();
    assert_eq!(late.kind, ErrorKind::Timeout);
    assert!(late.to_string().contains("starting"), "{late}");
}
