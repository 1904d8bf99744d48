//! Standard input and output.

use std::time::{Duration, Instant};

use banger_proto::{
    MAX_EXEC_CHUNK,
    guest::v1::{CloseStdin, ExecRequest, exec_exit::Outcome, exec_request::Request},
};
use bytes::Bytes;
use rustix::process::{Pid, Signal};
use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;

use crate::client::{Host, command};

/// Bytes that do not repeat within a chunk's length.
fn pattern(length: usize) -> Vec<u8> {
    (0_u32..)
        .flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes())
        .take(length)
        .collect()
}

#[tokio::test]
async fn eight_mebibytes_through_cat_come_back_equal() {
    let host = Host::connect().await;
    let sent = Bytes::from(pattern(8 << 20));
    let running = host.start(command(&["cat"])).await.unwrap();
    let requests = running.requests();
    let mut writer = JoinSet::new();
    let copy = sent.clone();
    writer.spawn(async move {
        let chunks = copy
            .chunks(MAX_EXEC_CHUNK)
            .map(|chunk| copy.slice_ref(chunk));
        let end = Request::CloseStdin(CloseStdin {});
        for request in chunks.map(Request::Stdin).chain([end]) {
            let request = Some(request);
            requests.send(ExecRequest { request }).await.unwrap();
        }
    });
    let finished = running.finish().await;
    writer.join_next().await.unwrap().unwrap();
    assert_eq!(finished.outcome, Some(Outcome::Code(0)));
    assert_eq!(Sha256::digest(&finished.stdout), Sha256::digest(&sent));
}

#[tokio::test]
async fn fifty_megabytes_of_output_arrive_whole() {
    let host = Host::connect().await;
    let finished = host.shell("head -c 50000000 /dev/zero; echo end").await;
    assert_eq!(finished.outcome, Some(Outcome::Code(0)));
    assert_eq!(finished.stdout.len(), 50_000_004);
    assert!(finished.stdout.ends_with(b"\0end\n"));
}

#[tokio::test]
async fn output_and_error_are_kept_apart_and_in_order() {
    let host = Host::connect().await;
    let script = "i=0; while [ $i -lt 500 ]; do echo o$i; echo e$i >&2; i=$((i+1)); done";
    let finished = host.shell(script).await;
    let lines = |prefix: &str| {
        let lines = (0..500).map(|index| {
            format!(
                "{prefix}{index}
"
            )
        });
        lines.collect::<Vec<_>>().concat()
    };
    assert_eq!(finished.stdout, lines("o").as_bytes());
    assert_eq!(finished.stderr, lines("e").as_bytes());
}

#[tokio::test]
async fn a_process_may_ignore_or_close_its_input() {
    let host = Host::connect().await;
    let running = host
        .start(command(&[
            "sh",
            "-c",
            "exec <&-; echo closed; read x <&1; exit 5",
        ]))
        .await
        .unwrap();
    let mut left = 20;
    while 0 < left && running.offer(vec![0; MAX_EXEC_CHUNK]).await {
        left -= 1;
    }
    let finished = running.finish().await;
    assert_eq!(finished.text(), "closed");
    assert!(matches!(finished.outcome, Some(Outcome::Code(_))));
}

#[tokio::test]
async fn a_client_that_ends_its_requests_has_closed_the_input() {
    let host = Host::connect().await;
    let start = Request::Start(command(&["wc", "-c"]));
    let input = Request::Stdin(Bytes::from_static(b"12345"));
    let (requests, mut responses) = host.send([start, input]).await.unwrap();
    drop(requests);
    let mut text = Vec::new();
    while let Some(message) = crate::client::soon(responses.message()).await.unwrap() {
        if let Some(banger_proto::guest::v1::exec_response::Response::Stdout(bytes)) =
            message.response
        {
            text.extend_from_slice(&bytes);
        }
    }
    assert_eq!(text, b"5\n");
}

#[tokio::test]
async fn processes_that_do_not_read_hold_up_nobody() {
    let host = Host::connect().await;
    let mut stuck = Vec::new();
    for _ in 0..20 {
        let running = host.start(command(&["sleep", "1000"])).await.unwrap();
        for _ in 0..16 {
            running.stdin(vec![0; MAX_EXEC_CHUNK]).await;
        }
        stuck.push(running);
    }
    assert_eq!(host.shell("echo free").await.success(), "free");
}

#[tokio::test]
async fn a_signal_overtakes_input_that_is_not_read() {
    let host = Host::connect().await;
    let running = host.start(command(&["sleep", "1000"])).await.unwrap();
    for _ in 0..4 {
        running.stdin(vec![0; MAX_EXEC_CHUNK]).await;
    }
    running.request(Request::Signal(15)).await;
    assert_eq!(running.finish().await.outcome, Some(Outcome::Signal(15)));
}

#[tokio::test]
async fn what_was_left_behind_does_not_hold_up_the_exit() {
    let host = Host::connect().await;
    let began = Instant::now();
    let finished = host.shell("setsid sleep 1000 & echo $!; exit 3").await;
    let took = began.elapsed();
    assert_eq!(finished.outcome, Some(Outcome::Code(3)));
    assert!(took < Duration::from_secs(20), "{took:?}");
    let left = Pid::from_raw(finished.text().parse().unwrap()).unwrap();
    // it was left alive
    rustix::process::kill_process(left, Signal::KILL).unwrap();
}

#[tokio::test]
async fn output_of_what_was_left_behind_is_bounded() {
    let host = Host::connect().await;
    let finished = host
        .shell("(trap '' HUP; exec yes) & echo $! >&2; exit 4")
        .await;
    assert_eq!(finished.outcome, Some(Outcome::Code(4)));
    assert!(finished.stdout.starts_with(b"y\ny\n"));
    let pid = std::str::from_utf8(&finished.stderr).unwrap().trim();
    // it ended by itself: nobody reads its pipe any more
    let status = format!("/proc/{pid}/status");
    let state = std::fs::read_to_string(status).unwrap_or_default();
    assert!(!state.contains("State:\tR"), "{state}");
}

#[tokio::test]
async fn a_late_writer_within_the_grace_is_heard() {
    let host = Host::connect().await;
    let finished = host.shell("(sleep 0.3; echo late) & exit 0").await;
    assert_eq!(finished.success(), "late");
}
