//! What becomes of a download when its registry misbehaves.

use std::{
    fs,
    time::{Duration, Instant},
};

use banger_core::{ErrorKind, domain::Bytes, progress::ProgressEvent};

use super::{
    content::{Content, LAYER},
    registry::Fault,
    world::{Recorder, World},
};

/// Pulls, and compares what came with what should have.
async fn pull_whole(world: &World, fault: Fault) {
    let pulled = world.pull().await;
    let blobs = pulled.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
    assert!(fs::read(&blobs[0].path).unwrap() == LAYER, "{fault:?}");
    assert_eq!(world.cached(Some("partial")), 0, "{fault:?}");
    assert_eq!(world.cached(None), 1, "{fault:?}");
}

/// The first byte of the range that a request asked for.
fn asked_start(request: Option<&String>) -> usize {
    let range = request.unwrap().strip_prefix("bytes=").unwrap();
    range.strip_suffix('-').unwrap().parse().unwrap()
}

#[tokio::test]
async fn what_may_pass_is_tried_again() {
    let cases = [
        (Fault::None, 1),
        (Fault::Status(429, 1), 2),
        (Fault::Status(500, 2), 3),
        (Fault::Status(503, 4), 5),
    ];
    for (fault, requests) in cases {
        let world = World::with_fault(fault).await;
        pull_whole(&world, fault).await;
        assert_eq!(world.layer_requests().len(), requests, "{fault:?}");
    }
}

#[tokio::test]
async fn what_does_not_pass_ends_with_its_status() {
    for (status, requests, kind) in [
        (500, 5, ErrorKind::Unavailable),
        (429, 5, ErrorKind::Unavailable),
        (418, 1, ErrorKind::Unavailable),
        (404, 1, ErrorKind::NotFound),
        (403, 1, ErrorKind::Unauthenticated),
    ] {
        let world = World::with_fault(Fault::Status(status, usize::MAX)).await;
        let error = world.pull().await.unwrap_err();
        assert_eq!(error.kind(), kind, "{status}: {error}");
        assert_eq!(world.layer_requests().len(), requests, "{status}");
    }
}

#[tokio::test]
async fn a_cut_download_goes_on_where_it_broke_off() {
    let world = World::with_fault(Fault::Cut(1)).await;
    pull_whole(&world, Fault::Cut(1)).await;
    let requests = world.layer_requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0], None);
    let start = asked_start(requests[1].as_ref());
    // not a byte that had arrived was sent again
    assert!(0 < start && start <= LAYER.len() / 2, "{start}");
}

#[tokio::test]
async fn a_line_that_breaks_often_still_brings_everything() {
    // more often than one attempt is repeated, and each time further
    let world = World::with_fault(Fault::Cut(7)).await;
    let pulled = world.pull().await;
    let starts: Vec<usize> = world.layer_requests()[1..]
        .iter()
        .map(|request| asked_start(request.as_ref()))
        .collect();
    assert!(starts.is_sorted(), "{starts:?}");
    assert!(pulled.is_ok(), "{pulled:?} after {starts:?}");
}

#[tokio::test]
async fn registries_that_cannot_resume_send_everything_again() {
    for (fault, requests) in [
        (Fault::CutOnceIgnoreRange, 2),
        (Fault::CutOnceRefuseRange, 3),
        (Fault::CutOnceWrongRange, 3),
        (Fault::CutOnceOtherRange, 3),
    ] {
        let world = World::with_fault(fault).await;
        pull_whole(&world, fault).await;
        assert_eq!(world.layer_requests().len(), requests, "{fault:?}");
    }
}

#[tokio::test]
async fn wrong_bytes_are_never_published() {
    for (fault, requests) in [
        (Fault::WrongBytes, 1),
        (Fault::TooLong, 1),
        (Fault::TooShort, 5),
    ] {
        let world = World::with_fault(fault).await;
        let error = world.pull().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{fault:?}: {error}");
        let digest = Content::layer_digest().to_string();
        assert!(error.to_string().contains(&digest), "{fault:?}: {error}");
        assert_eq!(world.cached(None), 0, "{fault:?}");
        assert_eq!(world.layer_requests().len(), requests, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_pulls_share_one_download_and_later_ones_the_cache() {
    let world = World::with_fault(Fault::None).await;
    let (first, second) = tokio::join!(world.pull(), world.pull());
    assert_eq!(first.unwrap(), second.unwrap());
    let recorder = Recorder::default();
    world.pull_with(&recorder).await.unwrap();
    assert_eq!(world.layer_requests().len(), 1);
    assert_eq!(world.cached(None), 1);
    let cached = ProgressEvent::LayerCached {
        layer: Content::layer_digest(),
    };
    assert_eq!(*recorder.events.lock().unwrap(), [cached]);
}

#[tokio::test]
async fn a_cancelled_pull_leaves_what_the_next_one_goes_on_from() {
    let world = World::with_fault(Fault::StallOnce).await;
    let some_bytes_lie_there = async {
        while partial_length(&world) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        pulled = world.pull() => panic!("a stalled pull ended: {pulled:?}"),
        () = some_bytes_lie_there => {}
    }
    assert_eq!(world.cached(None), 0);
    pull_whole(&world, Fault::StallOnce).await;
    let requests = world.layer_requests();
    assert_eq!(requests.len(), 2);
    assert_ne!(asked_start(requests[1].as_ref()), 0);
}

fn partial_length(world: &World) -> u64 {
    let blob = world.options.directories.blob(&Content::layer_digest());
    fs::metadata(blob.with_extension("partial")).map_or(0, |metadata| metadata.len())
}

#[tokio::test]
async fn progress_is_told_seldom_and_to_the_end() {
    let world = World::with_fault(Fault::None).await;
    let recorder = Recorder::default();
    let started = Instant::now();
    world.pull_with(&recorder).await.unwrap();
    let tenths = started.elapsed().as_millis() / Duration::from_millis(100).as_millis();
    let events = recorder.events.lock().unwrap();
    assert!(
        events.len() as u128 <= tenths + 2,
        "{} events",
        events.len()
    );
    let all = Bytes::new(LAYER.len() as u64);
    let last = ProgressEvent::LayerProgress {
        layer: Content::layer_digest(),
        done: all,
        total: all,
    };
    assert_eq!(events.last(), Some(&last));
}
