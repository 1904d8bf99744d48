//! Files and logs of a machine whose streams are cut after every frame there is.

use std::{fmt::Write as _, fs};

use banger_api::v1::{CreateExecRequest, StopVmRequest};
use banger_client::{Client, services::RemoteServices};
use banger_core::{
    domain::Selector,
    vm::{
        LogsRequest, ReadTree, TreeEvent,
        copy::{CopyOptions, copy_in},
    },
};
use camino::Utf8Path;

use super::{
    cut::{converse, with_machine},
    everywhere::everywhere,
};

/// Makes files that are many frames.
const TREE: &str = "busybox mkdir -p /tree/empty && cd /tree && busybox ln -s numbers link
busybox head -c 150000 /dev/urandom > random && busybox seq 2000 > numbers";
/// Writes more into the log than fits into some messages.
const LINES: &str = "one=0; while [ $one -lt 3000 ]; do
echo \"a line of the console that has the number $one.\"; one=$((one + 1))
done > /dev/ttyS0";

/// Runs a script in the machine and answers what it said.
pub(super) async fn say(client: &Client, script: &str) -> String {
    let request = CreateExecRequest {
        vm: "vms/g".to_owned(),
        argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
        ..CreateExecRequest::default()
    };
    let said = converse(client, request, &[]).await;
    said.successful()
}

async fn tree(client: Client) -> (Vec<u8>, String) {
    let request = ReadTree {
        path: b"/tree".to_vec(),
        archived_as: Some(b"copy".to_vec()),
    };
    let vms = RemoteServices::new(client).vms;
    let mut stream = vms.read_tree(&"g".into(), request).await.unwrap();
    let (mut bytes, mut end) = (Vec::new(), None);
    while let Some(event) = stream.events.recv().await {
        assert!(end.is_none(), "something came after the end");
        match event.unwrap() {
            TreeEvent::Data(data) => bytes.extend_from_slice(&data),
            TreeEvent::End(read) => end = Some(format!("{read:?}")),
        }
    }
    (bytes, end.expect("the tree has no end"))
}

/// Some files of this host.
fn files(root: &Utf8Path) {
    fs::create_dir_all(root.join("deep/er")).unwrap();
    let numbers = (0..25_000_u32).fold(String::new(), |mut text, one| {
        writeln!(text, "{one}").unwrap();
        text
    });
    fs::write(root.join("numbers"), &numbers).unwrap();
    fs::write(root.join("deep/er/file"), &numbers[..70_000]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_machines_are_the_same_wherever_their_streams_are_cut() {
    let (daemon, direct) = with_machine().await;
    say(&direct, TREE).await;
    everywhere("ReadFiles", &daemon, 15, tree).await;

    let source = daemon.root.join("source");
    files(&source);
    everywhere("WriteFiles", &daemon, 15, async |client| {
        say(&direct, "busybox rm -rf /in && busybox mkdir /in").await;
        let vms = RemoteServices::new(client).vms;
        let (machine, options) = (Selector::from("g"), CopyOptions::default());
        let copied = copy_in(
            vms.as_ref(),
            &machine,
            source.as_std_path(),
            b"/in",
            options,
        );
        let copied = copied.await.unwrap();
        let look = "cd /in && busybox find . | busybox sort
            busybox find . -type f | busybox sort | busybox xargs busybox sha256sum";
        (copied, say(&direct, look).await)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_of_machines_are_the_same_wherever_their_streams_are_cut() {
    let (daemon, direct) = with_machine().await;
    say(&direct, LINES).await;
    // from here on nothing is added
    let stop = StopVmRequest {
        name: "vms/g".to_owned(),
        ..StopVmRequest::default()
    };
    direct.change(stop).await.unwrap();
    for follow in [false, true] {
        let what = format!("ReadVmLog, followed: {follow}");
        everywhere(&what, &daemon, 15, async |client| {
            let request = LogsRequest {
                follow,
                ..LogsRequest::default()
            };
            let vms = RemoteServices::new(client).vms;
            let mut log = vms.logs(&"g".into(), request).await.unwrap();
            let mut bytes = Vec::new();
            while let Some(chunk) = log.chunks.recv().await {
                let chunk = chunk.unwrap();
                assert!(!chunk.gap, "after {} bytes", bytes.len());
                bytes.extend_from_slice(&chunk.bytes);
            }
            assert!(100_000 < bytes.len(), "{} bytes", bytes.len());
            bytes
        })
        .await;
    }
}
