//! Requests that come twice, at once, and for the same thing.

use std::time::{Duration, UNIX_EPOCH};

use camino::Utf8Path;
use tempfile::TempDir;

use super::*;
use crate::directories::Directories;

async fn store() -> (TempDir, Store) {
    let scratch = tempfile::tempdir().unwrap();
    let root = Utf8Path::from_path(scratch.path()).unwrap();
    let directories = Directories {
        state: root.join("state"),
        cache: root.join("cache"),
        runtime: root.join("run"),
    };
    let store = Store::open(&directories).await.unwrap();
    (scratch, store)
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn request(caller: &str, request_id: &str, digest: &str) -> OperationRequest {
    OperationRequest {
        caller: caller.to_owned(),
        request_id: request_id.to_owned(),
        digest: digest.to_owned(),
        shareable: false,
        kind: "create_vm".to_owned(),
        target: "vms/a".to_owned(),
        request: b"request".to_vec(),
        time: at(1),
    }
}

fn end(state: OperationState, seconds: u64) -> OperationEnd {
    OperationEnd {
        state,
        outcome: Some(b"outcome".to_vec()),
        made: None,
        time: at(seconds),
    }
}

fn new(begun: BegunOperation) -> Operation {
    match begun {
        BegunOperation::New(operation) => operation,
        other => panic!("not new: {other:?}"),
    }
}

#[tokio::test]
async fn one_request_begins_one_operation_whoever_asks_how_often() {
    let (_scratch, store) = store().await;
    let wanted = request("uid:1", "r1", "d");
    let calls = (0..8).map(|_| store.begin_operation(&wanted));
    let begun = futures_util::future::join_all(calls).await;
    let mut ids = Vec::new();
    let mut fresh = 0;
    for one in begun {
        match one.unwrap() {
            BegunOperation::New(operation) => {
                fresh += 1;
                ids.push(operation.id);
            }
            BegunOperation::Known(operation) => ids.push(operation.id),
            BegunOperation::IdReused => panic!("the request is the same"),
        }
    }
    assert_eq!(fresh, 1);
    assert!(ids.iter().all(|id| *id == ids[0]));

    let other_body = store.begin_operation(&request("uid:1", "r1", "e")).await;
    assert_eq!(other_body.unwrap(), BegunOperation::IdReused);
    let other_caller = store.begin_operation(&request("uid:2", "r1", "e")).await;
    assert_ne!(new(other_caller.unwrap()).id, ids[0]);
    let found = store.operation_of_request("uid:1", "r1").await.unwrap();
    assert_eq!(found.map(|one| one.id), Some(ids[0]));
    assert_eq!(
        store.operation_of_request("uid:3", "r1").await.unwrap(),
        None
    );
    assert_eq!(
        store
            .operations_of(None, None, true, 10)
            .await
            .unwrap()
            .len(),
        2
    );
}

#[tokio::test]
async fn a_shareable_request_joins_one_that_runs_and_none_that_is_over() {
    let (_scratch, store) = store().await;
    let shareable = |caller: &str, id: &str| OperationRequest {
        shareable: true,
        ..request(caller, id, "same")
    };
    let first = new(store
        .begin_operation(&shareable("uid:1", "a"))
        .await
        .unwrap());
    let joined = store
        .begin_operation(&shareable("uid:2", "b"))
        .await
        .unwrap();
    assert!(matches!(joined, BegunOperation::Known(one) if one.id == first.id));
    let ended = store
        .end_operation(first.id, &end(OperationState::Succeeded, 2))
        .await;
    assert_eq!(ended.unwrap().state, OperationState::Succeeded);
    let later = new(store
        .begin_operation(&shareable("uid:1", "c"))
        .await
        .unwrap());
    assert_ne!(later.id, first.id);
    // the id keeps meaning what it meant
    let again = store
        .begin_operation(&shareable("uid:2", "b"))
        .await
        .unwrap();
    assert!(matches!(again, BegunOperation::Known(one) if one.id == first.id));
}

#[tokio::test]
async fn events_are_numbered_and_bounded_and_an_end_is_final() {
    let (_scratch, store) = store().await;
    let operation = new(store
        .begin_operation(&request("u", "r", "d"))
        .await
        .unwrap());
    let event = |byte: u8| (at(byte.into()), vec![byte]);
    let last = store
        .add_operation_events(operation.id, &[event(1), event(2)], 3, 1000)
        .await;
    assert_eq!(last.unwrap(), 2);
    let last = store
        .add_operation_events(operation.id, &[event(3), event(4)], 3, 1000)
        .await;
    assert_eq!(last.unwrap(), 4);
    let kept = store.operation_events(operation.id, 0, 10).await.unwrap();
    let numbers: Vec<u64> = kept.iter().map(|one| one.sequence).collect();
    assert_eq!(numbers, [2, 3, 4]);
    assert_eq!(kept[0].event, [2]);
    let from = store.operation_events(operation.id, 4, 10).await.unwrap();
    assert_eq!(from.len(), 1);
    // two bytes of them, whatever their number
    let last = store.add_operation_events(operation.id, &[], 3, 2).await;
    assert_eq!(last.unwrap(), 4);
    let kept = store.operation_events(operation.id, 0, 10).await.unwrap();
    let numbers: Vec<u64> = kept.iter().map(|one| one.sequence).collect();
    assert_eq!(numbers, [3, 4]);

    assert_eq!(
        store
            .attempt_operation(operation.id)
            .await
            .unwrap()
            .attempts,
        1
    );
    assert!(
        store
            .cancel_operation(operation.id)
            .await
            .unwrap()
            .cancel_requested
    );
    assert_eq!(store.unfinished_operations().await.unwrap().len(), 1);
    let ended = store
        .end_operation(operation.id, &end(OperationState::Failed, 9))
        .await
        .unwrap();
    assert_eq!(ended.last_sequence, 5);
    assert_eq!(ended.outcome.as_deref(), Some(b"outcome".as_slice()));
    let again = store
        .end_operation(operation.id, &end(OperationState::Succeeded, 10))
        .await;
    assert_eq!(again.unwrap(), ended);
    assert!(store.unfinished_operations().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_ended_long_ago_is_forgotten_with_its_requests() {
    let (_scratch, store) = store().await;
    let old = new(store
        .begin_operation(&request("u", "old", "d"))
        .await
        .unwrap());
    let running = new(store
        .begin_operation(&request("u", "running", "d"))
        .await
        .unwrap());
    let end = end(OperationState::Succeeded, 5);
    store.end_operation(old.id, &end).await.unwrap();
    assert_eq!(store.forget_operations(at(5)).await.unwrap(), 0);
    assert_eq!(store.forget_operations(at(6)).await.unwrap(), 1);
    assert_eq!(store.operation_of(None, old.id).await.unwrap(), None);
    assert_eq!(store.operation_of_request("u", "old").await.unwrap(), None);
    assert!(
        store
            .operation_of(None, running.id)
            .await
            .unwrap()
            .is_some()
    );
    let page = store
        .operations_of(None, Some(running.id), true, 10)
        .await
        .unwrap();
    assert!(page.is_empty());
}

#[tokio::test]
async fn a_caller_sees_what_it_asked_for_under_its_own_ids() {
    let (_scratch, store) = store().await;
    let mut shared = request("token:ann", "b", "d");
    shared.shareable = true;
    let operation = new(store.begin_operation(&shared).await.unwrap());
    shared.caller = "token:bob".to_owned();
    shared.request_id = "a".to_owned();
    let known = store.begin_operation(&shared).await.unwrap();
    assert!(matches!(known, BegunOperation::Known(same) if same.id == operation.id));
    let own = store.begin_operation(&request("token:bob", "c", "e")).await;
    let own = new(own.unwrap());

    let ids = async |caller| {
        let found = store.operations_of(caller, None, true, 10).await.unwrap();
        let pairs = found.into_iter().map(|one| (one.id, one.request_id));
        pairs.collect::<Vec<_>>()
    };
    let pair = |id, text: &str| (id, text.to_owned());
    assert_eq!(ids(Some("token:ann")).await, [pair(operation.id, "b")]);
    let both = [pair(own.id, "c"), pair(operation.id, "a")];
    assert_eq!(ids(Some("token:bob")).await, both);
    assert_eq!(ids(Some("token:eve")).await, []);
    assert_eq!(ids(None).await.len(), 2);

    let seen = async |caller, id| store.operation_of(caller, id).await.unwrap();
    let anns = seen(Some("token:ann"), operation.id).await.unwrap();
    assert_eq!(anns.request_id, "b");
    assert_eq!(seen(Some("token:ann"), own.id).await, None);
    assert_eq!(seen(None, own.id).await, Some(own.clone()));
    let callers = store.callers_of_operation(operation.id).await.unwrap();
    assert_eq!(callers, ["token:ann", "token:bob"]);
}
