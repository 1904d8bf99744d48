//! What a drained service has let in before is finished when it says so.

use std::{fs, pin::pin, process::Command, time::Duration};

use banger_api::v1::{CreateExecRequest, DrainRequest, DrainResponse, ErrorReason};
use banger_client::{Client, Failure, services::RemoteServices};
use banger_core::{
    ErrorKind,
    vm::{StreamPiece, WriteTree},
};
use bytes::Bytes;
use tokio::{sync::mpsc, time::timeout};

use super::{cut::with_machine, daemon::Daemon, guests::say};

/// How much of the archive is its first file: a header, and a block.
const FIRST: usize = 1024;

/// A tar file with two files.
fn archive(daemon: &Daemon) -> Bytes {
    let tree = daemon.root.join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("first"), "first\n").unwrap();
    fs::write(tree.join("second"), "second\n".repeat(5000)).unwrap();
    #[expect(clippy::disallowed_methods, reason = "a tool of the test's own")]
    let mut tar = Command::new("tar");
    let words = [
        "--format=ustar",
        "-C",
        tree.as_str(),
        "-c",
        "first",
        "second",
    ];
    let output = tar.args(words).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout.into()
}

async fn drain(client: &Client, seconds: i64) -> DrainResponse {
    let request = DrainRequest {
        wait: Some(prost_types::Duration { seconds, nanos: 0 }),
    };
    client.system().drain(request).await.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_service_says_what_it_has_let_in_and_waits_for_it() {
    let (daemon, client) = with_machine().await;
    let archive = archive(&daemon);
    say(&client, "busybox mkdir /in").await;
    let vms = RemoteServices::new(client.clone()).vms;
    let (sender, pieces) = mpsc::channel(2);
    let request = WriteTree {
        directory: b"/in".to_vec(),
        keep_owners: false,
    };
    let machine = "g".into();
    let mut writing = pin!(vms.write_tree(&machine, request, pieces));
    // the first file is there, and the second one is on its way
    let half = FIRST + 3000;
    let beginning = async {
        let begun = StreamPiece::Data(archive.slice(..half));
        sender.send(begun).await.unwrap();
        while say(&client, "cat /in/first || true").await != "first\n" {}
    };
    tokio::select! {
        () = beginning => {}
        written = &mut writing => panic!("it ended: {written:?}"),
    }

    let told = drain(&client, 0).await;
    assert_eq!((told.operations, told.calls), (0, 1));
    let exec = CreateExecRequest::default();
    let refused = client.execs().create_exec(exec).await.unwrap_err();
    let refused = Failure::from(refused);
    assert_eq!(refused.reason, Some(ErrorReason::ServerDraining));
    let (_kept, nothing) = mpsc::channel(1);
    let another = WriteTree {
        directory: b"/in".to_vec(),
        keep_owners: false,
    };
    let refused = vms.write_tree(&machine, another, nothing).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unavailable);

    // it is waited for as long as it takes
    let mut draining = pin!(drain(&client, 120));
    let early = timeout(Duration::from_millis(500), &mut draining).await;
    assert!(early.is_err(), "{early:?} came before the end");
    let ending = async {
        let rest = StreamPiece::Data(archive.slice(half..));
        sender.send(rest).await.unwrap();
        sender.send(StreamPiece::End).await.unwrap();
    };
    let (written, told, ()) = tokio::join!(writing, draining, ending);
    assert_eq!(written.unwrap().entries, 2);
    assert_eq!((told.operations, told.calls), (0, 0));
}
