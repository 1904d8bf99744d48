//! Clients that come and go.

use std::time::Duration;

use banger_proto::{
    MAX_EXEC_CHUNK,
    guest::v1::{
        CreateExecRequest, ExecInput, ExecSignal, ExecStart, ExecStream, HelloRequest, OnFull,
        WhenDetached, attach_exec_request::Request, attach_exec_response::Response,
        exec_exit::Outcome,
    },
};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tonic::Code;

use crate::client::{Host, Running, command, soon};

/// A session that nobody needs to attend.
fn kept(id: &str, argv: &[&str]) -> CreateExecRequest {
    let mut request = CreateExecRequest {
        exec_id: id.to_owned(),
        start: Some(command(argv)),
        ..CreateExecRequest::default()
    };
    request.set_when_detached(WhenDetached::Keep);
    request
}

fn shell(id: &str, script: &str) -> CreateExecRequest {
    kept(id, &["sh", "-c", script])
}

/// Waits until a session has ended.
async fn ended(host: &Host, id: &str) -> Outcome {
    let waiting = async {
        loop {
            let list = host.list().await;
            let info = list.into_iter().find(|info| info.exec_id == id).unwrap();
            if let Some(exit) = info.exit {
                break exit.outcome.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon(waiting).await
}

/// Reads at least so many bytes of output.
async fn read(running: &mut Running, length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < length {
        match running.next().await.unwrap() {
            Some(Response::Output(output)) => bytes.extend_from_slice(&output.bytes),
            other => panic!("{other:?}"),
        }
    }
    bytes
}

#[tokio::test]
async fn ten_clients_lose_no_byte_and_hear_one_exit() {
    let mut host = Host::connect().await;
    let script = "seq 3000000; echo $? >&2; exit 7";
    host.create(shell("numbers", script)).await.unwrap();
    let mut all = Vec::new();
    for round in 0..10 {
        let mut running = host.attach("numbers", all.len() as u64).await.unwrap();
        for _ in 0..3 {
            all.extend(read(&mut running, 500_000).await);
            running.acknowledge().await;
        }
        // read and not acknowledged
        all.extend(read(&mut running, 300_000).await);
        drop(running);
        if round % 2 == 0 {
            host.cut();
            host.connect_again().await;
        }
    }
    let last = host.attach("numbers", all.len() as u64).await.unwrap();
    let finished = last.finish().await;
    assert_eq!(finished.outcome, Some(Outcome::Code(7)));
    all.extend(finished.stdout);
    let expected = numbers(1..=3_000_000);
    assert_eq!(Sha256::digest(&all), Sha256::digest(expected.as_bytes()));
    assert_eq!(finished.stderr, b"0\n");
    // the exit can be heard again
    let again = host.attach("numbers", all.len() as u64 + 2).await.unwrap();
    assert_eq!(again.finish().await.outcome, Some(Outcome::Code(7)));
}

#[tokio::test]
async fn a_session_is_started_once() {
    let host = Host::connect().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let script = format!("echo x >> {}; sleep 1000", file.path().display());
    let request = shell("once", &script);
    let (one, two) = tokio::join!(host.create(request.clone()), host.create(request.clone()));
    let pid = one.unwrap();
    assert_eq!(two.unwrap(), pid);
    assert_eq!(host.create(request).await.unwrap(), pid);
    let other = host.create(shell("once", "true")).await.unwrap_err();
    assert_eq!(other.code(), Code::AlreadyExists);
    assert_eq!(host.list().await.len(), 1);
    assert!(host.delete("once").await);
    assert!(!host.delete("once").await);
    assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "x\n");
}

#[tokio::test]
async fn input_and_signals_that_are_sent_again_are_taken_once() {
    let mut host = Host::connect().await;
    let count = "trap 'echo usr' USR1; cat; while read x; do :; done; echo end";
    host.create(shell("input", count)).await.unwrap();
    let mut first = host.attach("input", 0).await.unwrap();
    first.stdin("one\n").await;
    first.expect("one\n").await;
    host.cut();
    host.connect_again().await;
    let mut second = host.attach("input", 4).await.unwrap();
    assert_eq!(second.accepted.stdin_offset, 4);
    for (offset, text) in [(0, "one\ntwo\n"), (4, "two\n"), (2, "e\n")] {
        let bytes = Bytes::from(text);
        second
            .request(Request::Input(ExecInput { offset, bytes }))
            .await;
    }
    second.expect("two\n").await;
    drop(second);
    let third = host.attach("input", 8).await.unwrap();
    assert_eq!(third.accepted.stdin_offset, 8);
    third.close_stdin().await;
    third.close_stdin().await;
    let finished = third.finish().await;
    assert_eq!(finished.success(), "end");

    let script = "trap 'echo hit' USR1; echo up; while :; do read x; done";
    host.create(shell("signals", script)).await.unwrap();
    let mut running = host.attach("signals", 0).await.unwrap();
    running.expect("up\n").await;
    let signal = |number, ordinal| Request::Signal(ExecSignal { number, ordinal });
    running.request(signal(10, 0)).await;
    running.expect("hit\n").await;
    running.request(signal(10, 0)).await;
    running.request(signal(15, 1)).await;
    let finished = running.finish().await;
    assert!(finished.stdout.is_empty());
    assert_eq!(finished.outcome, Some(Outcome::Signal(15)));
}

#[tokio::test]
async fn the_last_client_is_the_sessions() {
    let host = Host::connect().await;
    host.create(kept("one", &["sleep", "1000"])).await.unwrap();
    let mut first = host.attach("one", 0).await.unwrap();
    let second = host.attach("one", 0).await.unwrap();
    assert_eq!(first.next().await.unwrap_err().code(), Code::Aborted);
    assert!(host.list().await[0].attached);
    let beyond = host.attach("one", 1).await.map(drop).unwrap_err();
    assert_eq!(beyond.code(), Code::OutOfRange);
    second.request(Request::Acknowledged(9)).await;
    drop(second);
}

#[tokio::test]
async fn a_session_without_a_client_waits_or_drops() {
    let host = Host::connect().await;
    let script = "seq 1000000; echo done >&2";
    host.create(shell("waits", script)).await.unwrap();
    let mut drops = shell("drops", script);
    drops.set_on_full(OnFull::DropOldest);
    host.create(drops).await.unwrap();
    assert_eq!(ended(&host, "drops").await, Outcome::Code(0));
    let list = host.list().await;
    let [waits, drops] = list.as_slice() else {
        panic!("{list:?}");
    };
    assert!(waits.exit.is_none() && waits.first_offset == 0);
    assert!(waits.end_offset <= 1 << 20, "{waits:?}");
    assert!(0 < drops.first_offset && drops.end_offset - drops.first_offset <= 1 << 20);
    let mut late = host.attach("drops", 5).await.unwrap();
    match late.next().await.unwrap() {
        Some(Response::Truncated(gone)) => {
            assert_eq!((gone.from, gone.to), (5, drops.first_offset));
            late.offset = gone.to;
        }
        other => panic!("{other:?}"),
    }
    let finished = late.finish().await;
    assert!(finished.text().ends_with("\n999999\n1000000"));
    assert_eq!(finished.stderr, b"done\n");
    let whole = host.attach("waits", 0).await.unwrap().finish().await;
    assert_eq!(whole.text().lines().count(), 1_000_000);
    assert_eq!(whole.outcome, Some(Outcome::Code(0)));
}

#[tokio::test]
async fn a_client_that_does_not_acknowledge_holds_the_process_up() {
    let host = Host::connect().await;
    host.create(kept("zeroes", &["cat", "/dev/zero"]))
        .await
        .unwrap();
    let mut slow = host.attach("zeroes", 0).await.unwrap();
    let got = read(&mut slow, (1 << 20) - 2 * MAX_EXEC_CHUNK).await.len() as u64;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let held = host.list().await[0].end_offset;
    assert!(got <= held && held <= 1 << 20, "{held}");
    slow.acknowledge().await;
    read(&mut slow, MAX_EXEC_CHUNK).await;
    assert!(host.delete("zeroes").await);
}

#[tokio::test]
async fn time_is_up_for_the_whole_group() {
    let host = Host::connect().await;
    let polite = CreateExecRequest {
        timeout_millis: 200,
        ..shell(
            "polite",
            "trap 'echo ending; exit 3' TERM; sleep 1000 & wait",
        )
    };
    host.create(polite).await.unwrap();
    let finished = host.attach("polite", 0).await.unwrap().finish().await;
    assert_eq!(finished.text(), "ending");
    assert!(matches!(finished.outcome, Some(Outcome::TimedOut(_))));
    let stubborn = CreateExecRequest {
        timeout_millis: 200,
        ..shell("stubborn", "trap '' TERM; sleep 1000")
    };
    host.create(stubborn).await.unwrap();
    let finished = host.attach("stubborn", 0).await.unwrap().finish().await;
    assert!(matches!(finished.outcome, Some(Outcome::TimedOut(_))));
    let quick = CreateExecRequest {
        timeout_millis: 60_000,
        ..shell("quick", "exit 4")
    };
    host.create(quick).await.unwrap();
    let finished = host.attach("quick", 0).await.unwrap().finish().await;
    assert_eq!(finished.outcome, Some(Outcome::Code(4)));
}

#[tokio::test]
async fn a_deserted_session_is_ended_after_its_grace_alone() {
    let mut host = Host::connect().await;
    let deserted = |id, grace| CreateExecRequest {
        detach_grace_millis: grace,
        when_detached: WhenDetached::Kill.into(),
        ..kept(id, &["sleep", "1000"])
    };
    host.create(deserted("soon", 100)).await.unwrap();
    host.create(deserted("late", 600_000)).await.unwrap();
    host.create(kept("never", &["sleep", "1000"]))
        .await
        .unwrap();
    assert_eq!(ended(&host, "soon").await, Outcome::Signal(1));
    host.cut();
    host.connect_again().await;
    let alive = host.list().await;
    let alive = alive.iter().filter(|info| info.exit.is_none());
    assert_eq!(alive.count(), 2);
}

#[tokio::test]
async fn the_memory_of_ended_sessions_is_bounded() {
    let host = Host::connect().await;
    for index in 0..20 {
        let id = format!("large-{index}");
        let mut large = shell(&id, "head -c 3000000 /dev/zero");
        large.set_on_full(OnFull::DropOldest);
        host.create(large).await.unwrap();
        ended(&host, &id).await;
    }
    let list = host.list().await;
    assert!(list.len() < 10, "{}", list.len());
    assert_eq!(list.last().unwrap().exec_id, "large-19");
    for index in 0..40 {
        let id = format!("small-{index}");
        host.create(kept(&id, &["true"])).await.unwrap();
        ended(&host, &id).await;
    }
    assert!(host.list().await.len() <= 32);
    // one that was heard goes before those that were not
    let first = host.list().await[0].exec_id.clone();
    let heard = host.list().await[5].exec_id.clone();
    host.attach(&heard, 0).await.unwrap().finish().await;
    host.create(kept("more", &["true"])).await.unwrap();
    ended(&host, "more").await;
    let left = host.list().await;
    assert!(left.iter().any(|info| info.exec_id == first));
    assert!(left.iter().all(|info| info.exec_id != heard));
}

#[tokio::test]
async fn a_login_shell_is_the_users_own() {
    let host = Host::connect().await;
    let start = ExecStart {
        login_shell: true,
        user: "root".to_owned(),
        ..ExecStart::default()
    };
    let running = host.start(start).await.unwrap();
    let script = Bytes::from("echo $0; pwd; echo $HOME $USER $LOGNAME\n");
    let finished = running.exchange(script).await;
    let lines: Vec<_> = finished.success().lines().collect();
    assert!(lines[0].starts_with('-'), "{lines:?}");
    assert_eq!(lines[1..], ["/root", "/root root root"]);
}

#[tokio::test]
async fn a_session_may_have_no_input_from_the_start() {
    let host = Host::connect().await;
    let request = CreateExecRequest {
        without_stdin: true,
        ..kept("cat", &["cat"])
    };
    host.create(request).await.unwrap();
    assert_eq!(ended(&host, "cat").await, Outcome::Code(0));
}

#[tokio::test]
async fn a_new_connection_greets_and_finds_both_streams() {
    let mut host = Host::connect().await;
    host.create(shell("both", "echo out; echo err >&2; sleep 1000"))
        .await
        .unwrap();
    for _ in 0..3 {
        host.cut();
        host.connect_again().await;
        let hello = HelloRequest {
            generation: 9,
            unix_time_nanos: 1,
            ..HelloRequest::default()
        };
        soon(host.client.hello(hello)).await.unwrap();
        let mut running = host.attach("both", 0).await.unwrap();
        let mut streams = Vec::new();
        for _ in 0..2 {
            match running.next().await.unwrap() {
                Some(Response::Output(output)) => streams.push(output.stream()),
                other => panic!("{other:?}"),
            }
        }
        streams.sort();
        assert_eq!(streams, [ExecStream::Stdout, ExecStream::Stderr]);
    }
    assert!(host.delete("both").await);
}

/// Numbers, a line each.
fn numbers(range: impl Iterator<Item = u32>) -> String {
    use std::fmt::Write as _;
    range.fold(String::new(), |mut text, number| {
        writeln!(text, "{number}").unwrap();
        text
    })
}
