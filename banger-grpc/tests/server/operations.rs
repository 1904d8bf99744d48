//! Work that outlives its server, is watched, and is given up.

use std::time::Duration;

use banger_api::v1::{
    CancelOperationRequest, ListImagesRequest, ListOperationsRequest, Operation, OperationEvent,
    OperationState, WaitOperationRequest, WatchOperationRequest, operation_event::Event,
};
use banger_grpc::server::Limits;

use super::harness::{HASTY, LARGE, Running, pull, succeeded, wait};

async fn begin(running: &Running) -> Operation {
    let answer = running.images().pull_image(pull(LARGE)).await.unwrap();
    let operation = answer.into_inner().operation.unwrap();
    assert_eq!(operation.state(), OperationState::Running);
    operation
}

async fn end(running: &Running, name: &str) -> Operation {
    let request = WaitOperationRequest {
        name: name.to_owned(),
        timeout: wait(120),
    };
    let answer = running.operations().wait_operation(request).await.unwrap();
    answer.into_inner().operation.unwrap()
}

async fn events(running: &Running, name: &str, from_sequence: u64) -> Vec<OperationEvent> {
    let request = WatchOperationRequest {
        name: name.to_owned(),
        from_sequence,
    };
    let mut stream = running
        .operations()
        .watch_operation(request)
        .await
        .unwrap()
        .into_inner();
    let mut events = Vec::new();
    while let Some(answer) = stream.message().await.unwrap() {
        events.push(answer.event.unwrap());
    }
    events
}

#[tokio::test]
async fn what_a_server_leaves_the_next_one_finishes_and_watchers_go_on_where_they_were() {
    let running = Running::serving(HASTY).await;
    running.import_kernel().await;
    let begun = begin(&running).await;
    let running = running.again(HASTY).await;
    let done = succeeded(Some(end(&running, &begun.name).await));
    assert_eq!(done.attempts, 2);

    let all = events(&running, &begun.name, 0).await;
    let numbers: Vec<u64> = all.iter().map(|event| event.sequence).collect();
    assert_eq!(numbers, (1..=done.last_sequence).collect::<Vec<_>>());
    let attempts = all.iter().filter_map(|event| match &event.event {
        Some(Event::Began(one)) => Some(one.attempt),
        _ => None,
    });
    assert_eq!(attempts.collect::<Vec<_>>(), [1, 2]);
    let last = all.last().unwrap();
    assert!(matches!(&last.event, Some(Event::Ended(ended)) if *ended == done));
    for from in [2, done.last_sequence] {
        let rest = events(&running, &begun.name, from).await;
        assert_eq!(rest, all[usize::try_from(from).unwrap() - 1..]);
    }

    // a watcher that is there from the beginning sees the same
    let listed = running
        .operations()
        .list_operations(ListOperationsRequest::default())
        .await;
    let listed = listed.unwrap().into_inner().operations;
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[0].name, begun.name);
}

#[tokio::test]
async fn what_is_given_up_ends_so_and_leaves_nothing() {
    let running = Running::serving(Limits::default()).await;
    running.import_kernel().await;
    let begun = begin(&running).await;
    let name = begun.name.clone();
    let asked = running
        .operations()
        .cancel_operation(CancelOperationRequest { name })
        .await;
    assert!(
        asked
            .unwrap()
            .into_inner()
            .operation
            .unwrap()
            .cancel_requested
    );
    let ended = end(&running, &begun.name).await;
    assert_eq!(ended.state(), OperationState::Cancelled, "{ended:?}");
    let listed = running
        .images()
        .list_images(ListImagesRequest::default())
        .await
        .unwrap();
    assert!(listed.into_inner().images.is_empty());
    // asking again changes nothing
    let name = begun.name.clone();
    let again = running
        .operations()
        .cancel_operation(CancelOperationRequest { name })
        .await;
    let again = again.unwrap().into_inner().operation.unwrap();
    assert_eq!(
        (again.state(), again.end_time),
        (OperationState::Cancelled, ended.end_time)
    );
    let images = running.state().join("images");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while images
        .read_dir_utf8()
        .is_ok_and(|mut left| left.next().is_some())
    {
        assert!(tokio::time::Instant::now() < deadline, "staging is left");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
