//! Snapshots of operations whose server ended.

use std::time::SystemTime;

use banger_api::v1::{
    CreateSnapshotRequest, Operation, OperationState, WaitOperationRequest, operation::Outcome,
};
use banger_core::{
    clock::{Clock as _, SystemClock},
    domain::{
        BackendKind, BegunOperation, Bytes, OperationId, OperationRequest, Selector, Snapshot,
        SnapshotId, Vm,
    },
    store::{Found, Store},
};
use prost::Message as _;

use super::harness::{HASTY, Running, create, fresh, succeeded, wait};

/// An operation that a server began and did not live to finish.
async fn begun(store: &Store, vm: &Vm, time: SystemTime) -> OperationId {
    let request = CreateSnapshotRequest {
        vm: format!("vms/{}", vm.id),
        ..CreateSnapshotRequest::default()
    };
    let request = OperationRequest {
        caller: "somebody".to_owned(),
        request_id: fresh(),
        digest: "d".to_owned(),
        shareable: false,
        kind: "create_snapshot".to_owned(),
        target: request.vm.clone(),
        request: request.encode_to_vec(),
        time,
    };
    let BegunOperation::New(operation) = store.begin_operation(&request).await.unwrap() else {
        panic!("it was there before");
    };
    store.attempt_operation(operation.id).await.unwrap();
    operation.id
}

async fn kept(store: &Store, vm: &Vm, id: SnapshotId, created: SystemTime) {
    let snapshot = Snapshot {
        id,
        vm: vm.clone(),
        backend: BackendKind::Qemu,
        size_on_disk: Bytes::new(1),
        created,
    };
    store.insert_snapshot(&snapshot).await.unwrap();
}

async fn over(running: &Running, id: OperationId) -> Operation {
    let request = WaitOperationRequest {
        name: format!("operations/{id}"),
        timeout: wait(60),
    };
    let answer = running.operations().wait_operation(request).await;
    answer.unwrap().into_inner().operation.unwrap()
}

#[tokio::test]
async fn an_operation_that_goes_on_knows_its_snapshot_from_all_others() {
    let running = Running::serving(HASTY).await;
    running.prepare().await;
    let made = running.vms().create_vm(create("a")).await.unwrap();
    succeeded(made.into_inner().operation);
    let store = running.store().await;
    let found = store.find_vm(&Selector::from("a")).await.unwrap();
    let Found::One(vm) = found else {
        panic!("{found:?}");
    };
    let now = SystemClock.now();
    let finished = begun(&store, &vm, now).await;
    let unfinished = begun(&store, &vm, now).await;
    let own: SnapshotId = finished.to_string().parse().unwrap();
    kept(&store, &vm, own, now).await;
    // somebody else kept the same machine since
    kept(&store, &vm, SnapshotId::generate(), now).await;
    drop(store);

    let running = running.again(HASTY).await;
    let finished = over(&running, finished).await;
    assert_eq!(finished.state(), OperationState::Succeeded, "{finished:?}");
    let Some(Outcome::Snapshot(snapshot)) = finished.outcome else {
        panic!("{:?}", finished.outcome);
    };
    assert_eq!(snapshot.uid, own.to_string());
    // the machine does not run, so it cannot be done now; nothing is taken over
    let unfinished = over(&running, unfinished).await;
    assert_eq!(unfinished.state(), OperationState::Failed, "{unfinished:?}");
}
