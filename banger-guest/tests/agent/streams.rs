//! Standard input and output.

use std::time::{Duration, Instant};

use banger_proto::{MAX_EXEC_CHUNK, guest::v1::exec_exit::Outcome};
use bytes::Bytes;
use rustix::process::{Pid, Signal};
use sha2::{Digest as _, Sha256};

use crate::client::{Host, command, soon};

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
    let finished = running.exchange(sent.clone()).await;
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
    let finished = running.exchange(vec![0; 20 * MAX_EXEC_CHUNK].into()).await;
    assert_eq!(finished.text(), "closed");
    assert!(matches!(finished.outcome, Some(Outcome::Code(_))));
}

#[tokio::test]
async fn processes_that_do_not_read_hold_up_nobody() {
    let host = Host::connect().await;
    let mut stuck = Vec::new();
    for _ in 0..20 {
        let mut running = host.start(command(&["sleep", "1000"])).await.unwrap();
        for _ in 0..4 {
            running.stdin(vec![0; MAX_EXEC_CHUNK]).await;
        }
        stuck.push(running);
    }
    assert_eq!(host.shell("echo free").await.success(), "free");
}

#[tokio::test]
async fn a_signal_overtakes_input_that_is_not_read() {
    let host = Host::connect().await;
    let mut running = host.start(command(&["sleep", "1000"])).await.unwrap();
    for _ in 0..4 {
        running.stdin(vec![0; MAX_EXEC_CHUNK]).await;
    }
    running.signal(15).await;
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
    // it ends by itself: nobody reads its pipe any more
    let status = format!("/proc/{pid}/status");
    let ended = async {
        while std::fs::read_to_string(&status).is_ok_and(|state| !state.contains("State:\tZ")) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(ended).await;
}

#[tokio::test]
async fn a_late_writer_within_the_grace_is_heard() {
    let host = Host::connect().await;
    let finished = host.shell("(sleep 0.3; echo late) & exit 0").await;
    assert_eq!(finished.success(), "late");
}
