//! Console logs whose streams break, with the client crate's traits.

use banger_api::v1::CreateExecRequest;
use banger_client::{Client, services::RemoteServices};
use banger_core::{
    domain::Selector,
    vm::{LogStream, LogsRequest},
};

use super::{
    cut::{BUDGET, converse, with_machine},
    cutter::Cutter,
};

/// Lines that the machine writes, some at a time.
const LINES: usize = 300;

/// Reads until the log has a line.
async fn read_to(log: &mut LogStream, text: &mut String, line: &str) {
    while !text.contains(line) {
        let chunk = log.chunks.recv().await.expect("the log goes on").unwrap();
        assert!(!chunk.gap);
        text.push_str(&String::from_utf8_lossy(&chunk.bytes));
    }
}

fn write(script: String) -> CreateExecRequest {
    CreateExecRequest {
        vm: "vms/g".to_owned(),
        argv: vec!["sh".to_owned(), "-c".to_owned(), script],
        ..CreateExecRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_followed_log_is_the_same_wherever_its_streams_are_cut() {
    let (mut daemon, direct) = with_machine().await;
    let cutter = Cutter::start(daemon.root.join("cut.sock"), &daemon.socket());
    let client = Client::connect(&cutter.socket, BUDGET).unwrap();
    let services = RemoteServices::new(client);
    let machine = Selector::from("g");
    let follow = LogsRequest {
        follow: true,
        ..LogsRequest::default()
    };
    cutter.cut(u64::MAX, 20);
    let mut log = services.vms.logs(&machine, follow).await.unwrap();
    let mut text = String::new();
    let script = format!(
        "for one in $(seq {LINES}); do echo \"line $one.\"; [ $((one % 10)) = 0 ] && sleep 0.1; done > /dev/ttyS0; true"
    );
    let (writing, last) = (write(script), format!("line {LINES}."));
    let (said, ()) = tokio::join!(
        converse(&direct, writing, &[]),
        read_to(&mut log, &mut text, &last)
    );
    assert!(said.exit.is_some());
    let cuts = cutter.cuts();
    assert!(1 < cuts, "{cuts} cuts");

    // and over a service that is killed
    cutter.cut(0, 0);
    daemon.signal("KILL");
    daemon.wait();
    daemon.again();
    converse(
        &direct,
        write("echo 'the last.' > /dev/ttyS0".to_owned()),
        &[],
    )
    .await;
    read_to(&mut log, &mut text, "the last.").await;

    // every line once and in its order, as a reader that was never cut has them
    let direct = RemoteServices::new(direct);
    let mut whole = direct
        .vms
        .logs(&machine, LogsRequest::default())
        .await
        .unwrap();
    let mut expected = String::new();
    while let Some(chunk) = whole.chunks.recv().await {
        expected.push_str(&String::from_utf8_lossy(&chunk.unwrap().bytes));
    }
    assert!(expected.starts_with(&text), "{text}\n---\n{expected}");
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("line "))
        .collect();
    assert_eq!(lines.len(), LINES, "{text}");
}
