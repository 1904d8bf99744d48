//! Processes on a terminal.

use banger_proto::guest::v1::{
    ExecStart, TerminalSize, attach_exec_request::Request, exec_exit::Outcome,
};

use crate::client::{Host, on_terminal};

#[tokio::test]
async fn all_streams_are_the_terminal() {
    let host = Host::connect().await;
    let script = "tty; test -t 0 && test -t 1 && test -t 2; echo $? $TERM; echo error >&2";
    let finished = host.run(on_terminal(&["sh", "-c", script], 24, 80)).await;
    let lines: Vec<_> = finished.success().lines().collect();
    assert!(lines[0].starts_with("/dev/pts/"), "{lines:?}");
    assert_eq!(lines[1..], ["0 xterm", "error"]);
    assert!(finished.stderr.is_empty());
}

#[tokio::test]
async fn the_size_is_given_and_changed() {
    let host = Host::connect().await;
    let script = "trap 'stty size; exit 9' WINCH; stty size; while :; do sleep 0.1; done";
    let start = on_terminal(&["sh", "-c", script], 24, 80);
    let mut running = host.start(start).await.unwrap();
    running.expect("24 80").await;
    let (rows, columns) = (50, 132);
    let resize = Request::Resize(TerminalSize { rows, columns });
    // the kernel tells the process
    running.request(resize).await;
    running.expect("50 132").await;
    assert_eq!(running.finish().await.outcome, Some(Outcome::Code(9)));
}

#[tokio::test]
async fn keys_act_as_on_a_terminal() {
    let host = Host::connect().await;
    let script = "trap 'echo interrupted; exit 4' INT; echo ready; while :; do sleep 0.1; done";
    let mut running = host
        .start(on_terminal(&["sh", "-c", script], 24, 80))
        .await
        .unwrap();
    running.expect("ready").await;
    running.stdin(&b"\x03"[..]).await;
    let finished = running.finish().await;
    assert!(finished.text().contains("interrupted"));
    assert_eq!(finished.outcome, Some(Outcome::Code(4)));
}

#[tokio::test]
async fn closing_the_input_ends_it_for_the_reader() {
    let host = Host::connect().await;
    // Without echo: the kernel wakes the reader before it echoes, so a process
    // that ends at once may end first, and its terminal with it.
    let script = "stty -echo; echo ready; exec cat";
    let start = on_terminal(&["sh", "-c", script], 24, 80);
    let mut running = host.start(start).await.unwrap();
    running.expect("ready").await;
    running.stdin(&b"line\n"[..]).await;
    running.close_stdin().await;
    let finished = running.finish().await;
    assert_eq!(finished.success().trim_start(), "line");
}

#[tokio::test]
async fn a_user_owns_its_terminal() {
    let host = Host::connect().await;
    let start = ExecStart {
        user: "nobody".to_owned(),
        ..on_terminal(
            &["sh", "-c", "stat -c %U $(tty); echo again >$(tty)"],
            24,
            80,
        )
    };
    assert_eq!(host.run(start).await.success(), "nobody\r\nagain");
}

#[tokio::test]
async fn all_output_of_a_terminal_arrives() {
    let host = Host::connect().await;
    let finished = host
        .run(on_terminal(
            &["sh", "-c", "stty -opost; seq 100000"],
            24,
            80,
        ))
        .await;
    let lines = (1..=100_000).map(|number| format!("{number}\n"));
    let expected = lines.collect::<Vec<_>>().concat();
    assert_eq!(finished.outcome, Some(Outcome::Code(0)));
    assert!(
        finished.stdout == expected.as_bytes(),
        "{} bytes",
        finished.stdout.len()
    );
}
