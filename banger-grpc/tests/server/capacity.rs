//! A host's budget and callers' quotas: no more is promised than there is.

use std::collections::BTreeSet;

use banger_api::v1::{
    CreateVmRequest, DeleteVmRequest, GetCapacityRequest, GetCapacityResponse, StartVmRequest,
    VmSpec, system_service_client::SystemServiceClient,
};
use banger_grpc::{
    capacity::{Budget, Limit},
    server::Limits,
};
use futures_util::future::join_all;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::harness::{HASTY, Running, create, fresh, reason, succeeded, wait};

const MIB: u64 = 1 << 20;

async fn capacity(running: &Running) -> GetCapacityResponse {
    let mut system = SystemServiceClient::new(running.channel.clone());
    let answer = system.get_capacity(GetCapacityRequest {}).await;
    answer.unwrap().into_inner()
}

/// What a refusal says is short, when it is one for which there is no room.
fn short(status: &Status, expected: &str) -> BTreeSet<String> {
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert_eq!(reason(status), expected);
    let details = status.get_error_details();
    assert!(details.retry_info().unwrap().retry_delay.is_some());
    let violations = &details.quota_failure().unwrap().violations;
    violations.iter().map(|one| one.subject.clone()).collect()
}

fn budget(host: Limit) -> Budget {
    Budget {
        host,
        ..Budget::default()
    }
}

#[tokio::test]
async fn those_who_ask_at_once_get_what_there_is_and_no_more() {
    let limit = Limit {
        vms: Some(3),
        ..Limit::default()
    };
    let running = Running::with_budget(HASTY, budget(limit)).await;
    running.prepare().await;
    let calls = (0..12).map(|number| {
        let mut vms = running.vms();
        async move { vms.create_vm(create(&format!("vm-{number}"))).await }
    });
    let (mut made, mut refused) = (Vec::new(), 0);
    for answer in join_all(calls).await {
        match answer {
            Ok(answer) => made.push(succeeded(answer.into_inner().operation).target),
            Err(status) => {
                assert_eq!(short(&status, "HOST_FULL"), ["host/vms".to_owned()].into());
                refused += 1;
            }
        }
    }
    assert_eq!((made.len(), refused), (3, 9));
    let told = capacity(&running).await;
    assert_eq!(told.committed.unwrap().vms, 3);
    assert_eq!(told.reserved.unwrap().vms, 0);
    assert_eq!(
        (told.limit.unwrap().vms, told.free.unwrap().vms),
        (Some(3), Some(0))
    );
    assert_eq!(told.owned.unwrap().vms, 3);

    // the next server knows who has what
    let running = running.again(HASTY).await;
    let check = CreateVmRequest {
        validate_only: true,
        request_id: String::new(),
        ..create("more")
    };
    let full = running.vms().create_vm(check.clone()).await.unwrap_err();
    short(&full, "HOST_FULL");
    let delete = DeleteVmRequest {
        request_id: fresh(),
        name: made.remove(0),
        wait: wait(60),
        ..DeleteVmRequest::default()
    };
    let deleted = running.vms().delete_vm(delete).await.unwrap();
    succeeded(deleted.into_inner().operation);
    let fine = running.vms().create_vm(check).await.unwrap();
    assert!(fine.into_inner().operation.is_none());
    let more = running.vms().create_vm(create("more")).await.unwrap();
    succeeded(more.into_inner().operation);
}

#[tokio::test]
async fn memory_and_cpus_are_those_of_machines_that_run_and_disks_those_of_all() {
    let limit = Limit {
        vcpus: Some(1),
        memory: Some(300 * MIB),
        disk: Some(4 * MIB),
        ..Limit::default()
    };
    let running = Running::with_budget(Limits::default(), budget(limit)).await;
    running.prepare().await;
    // 16 times 4 MiB of disk is enough for four of these
    for number in 0..4 {
        let made = running
            .vms()
            .create_vm(create(&format!("vm-{number}")))
            .await;
        succeeded(made.unwrap().into_inner().operation);
    }
    let full = running.vms().create_vm(create("vm-4")).await.unwrap_err();
    assert_eq!(
        short(&full, "HOST_FULL"),
        ["host/disk_bytes".to_owned()].into()
    );
    let start = StartVmRequest {
        request_id: fresh(),
        name: "vms/vm-0".to_owned(),
        ..StartVmRequest::default()
    };
    let full = running.vms().start_vm(start).await.unwrap_err();
    assert_eq!(
        short(&full, "HOST_FULL"),
        ["host/memory_bytes".to_owned()].into()
    );
    let told = capacity(&running).await;
    let committed = told.committed.unwrap();
    assert_eq!((committed.vcpus, committed.memory_bytes), (0, 0));
    assert_eq!((committed.vms, committed.disk_bytes), (4, 64 * MIB));
    assert_eq!(told.limit.unwrap().vcpus, Some(16));
}

#[tokio::test]
async fn a_caller_gets_no_more_than_its_quota() {
    let quota = Budget {
        per_owner: Limit {
            vms: Some(1),
            vcpus: Some(1),
            ..Limit::default()
        },
        ..Budget::default()
    };
    let running = Running::with_budget(Limits::default(), quota).await;
    running.prepare().await;
    let made = running.vms().create_vm(create("one")).await.unwrap();
    succeeded(made.into_inner().operation);
    let two = CreateVmRequest {
        start: true,
        spec: Some(VmSpec {
            vcpus: 2,
            ..VmSpec::default()
        }),
        ..create("two")
    };
    let refused = running.vms().create_vm(two).await.unwrap_err();
    let subjects = short(&refused, "QUOTA_EXCEEDED");
    let whats: Vec<&str> = subjects
        .iter()
        .filter_map(|subject| subject.rsplit_once('/').map(|(_, what)| what))
        .collect();
    assert_eq!(whats, ["vcpus", "vms"], "{subjects:?}");
}
