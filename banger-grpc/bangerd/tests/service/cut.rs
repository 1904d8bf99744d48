//! Commands whose connections break, with the client crate.

use std::time::Duration;

use banger_api::v1::{
    CreateExecRequest, CreateVmRequest, ImportKernelRequest, ListExecsRequest, PullImageRequest,
};
use banger_client::{Client, Exec, Failure};
use banger_core::vm::{ExecControl, ExecEvent, ExecExit};
use bytes::Bytes;

use super::{cutter::Cutter, daemon::Daemon, foreign::sources};

/// Longer than everything takes together.
pub(super) const BUDGET: Duration = Duration::from_mins(4);
/// Notes that it was started, answers each line on both streams, and then ends with a
/// status of its own.
const ECHO: &str = "echo x >> /tmp/started
while read -r line; do echo \"out $line\"; echo \"err $line\" >&2; done
exit 7";

/// A service with an image `small`.
pub(super) async fn with_small() -> (Daemon, Client) {
    let daemon = Daemon::start();
    let client = Client::connect(&daemon.socket(), BUDGET).unwrap();
    let (source, reference) = sources();
    let import = ImportKernelRequest {
        source,
        kernel_id: "linux".to_owned(),
        ..ImportKernelRequest::default()
    };
    client.change(import).await.unwrap();
    let pull = PullImageRequest {
        reference,
        image_id: "small".to_owned(),
        kernel: "kernels/linux".to_owned(),
        ..PullImageRequest::default()
    };
    client.change(pull).await.unwrap();
    (daemon, client)
}

/// The same with a machine `g` that runs.
pub(super) async fn with_machine() -> (Daemon, Client) {
    let (daemon, client) = with_small().await;
    let create = CreateVmRequest {
        image: "images/small".to_owned(),
        vm_id: "g".to_owned(),
        start: true,
        ..CreateVmRequest::default()
    };
    client.change(create).await.unwrap();
    (daemon, client)
}

fn command(script: &str) -> CreateExecRequest {
    CreateExecRequest {
        vm: "vms/g".to_owned(),
        argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
        ..CreateExecRequest::default()
    }
}

/// What a command said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    lost: Vec<(u64, u64)>,
    pub(super) exit: Option<ExecExit>,
}

impl Said {
    /// What a command said on standard output that ended well.
    pub(super) fn successful(self) -> String {
        assert_eq!(self.exit, Some(ExecExit::Code(0)), "{self:?}");
        String::from_utf8(self.stdout).unwrap()
    }
}

/// Everything, to the end.
async fn hear(exec: &mut Exec) -> Result<Said, Failure> {
    let mut said = Said::default();
    while let Some(event) = exec.events.recv().await {
        match event? {
            ExecEvent::Stdout(bytes) => said.stdout.extend_from_slice(&bytes),
            ExecEvent::Stderr(bytes) => said.stderr.extend_from_slice(&bytes),
            ExecEvent::Truncated { from, to } => said.lost.push((from, to)),
            ExecEvent::Exit(exit) => assert_eq!(said.exit.replace(exit), None),
        }
    }
    Ok(said)
}

pub(super) async fn converse(client: &Client, request: CreateExecRequest, input: &[Bytes]) -> Said {
    let mut exec = client.exec(request).await.unwrap();
    let control = exec.control.clone();
    let speaking = async move {
        for piece in input {
            control
                .send(ExecControl::Stdin(piece.clone()))
                .await
                .unwrap();
        }
        // a command that is over takes nothing
        drop(control.send(ExecControl::CloseStdin).await);
    };
    let (said, ()) = tokio::join!(hear(&mut exec), speaking);
    said.unwrap()
}

/// Bytes in which one that is lost, doubled or moved shows.
fn pattern(length: u32) -> Bytes {
    (0..length / 4).flat_map(u32::to_be_bytes).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_the_same_wherever_its_connection_is_cut() {
    let (daemon, direct) = with_machine().await;
    let cutter = Cutter::start(daemon.root.join("cut.sock"), &daemon.socket());
    let input = ["one\ntw", "o\n", "three\n"].map(|text| Bytes::from_static(text.as_bytes()));
    let expected = Said {
        stdout: b"out one\nout two\nout three\n".to_vec(),
        stderr: b"err one\nerr two\nerr three\n".to_vec(),
        lost: Vec::new(),
        exit: Some(ExecExit::Code(7)),
    };
    let mut frames = 1;
    loop {
        cutter.cut(1, frames);
        let client = Client::connect(&cutter.socket, BUDGET).unwrap();
        let said = converse(&client, command(ECHO), &input).await;
        assert_eq!(said, expected, "cut after frame {frames}");
        if cutter.cuts() == 0 {
            break;
        }
        frames += 1;
    }
    assert!(20 < frames, "{frames} frames are no exchange");
    // each of them was started once
    let counted = converse(&direct, command("wc -l < /tmp/started"), &[]).await;
    assert_eq!(
        String::from_utf8_lossy(&counted.stdout).trim(),
        frames.to_string()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn much_goes_both_ways_over_connections_that_never_last() {
    let (mut daemon, _) = with_machine().await;
    let cutter = Cutter::start(daemon.root.join("cut.sock"), &daemon.socket());
    let client = Client::connect(&cutter.socket, BUDGET).unwrap();
    let input = pattern(3 << 20);
    let pieces: Vec<Bytes> = input.chunks(50_000).map(Bytes::copy_from_slice).collect();
    cutter.cut(u64::MAX, 60);
    let said = converse(&client, command("cat; exit 3"), &pieces).await;
    assert!(said.stdout == input, "{} bytes", said.stdout.len());
    assert_eq!(said.exit, Some(ExecExit::Code(3)));
    assert!(5 < cutter.cuts(), "{} cuts", cutter.cuts());

    // and over services that are killed
    cutter.cut(0, 0);
    let mut exec = client.exec(command("cat; exit 4")).await.unwrap();
    let control = exec.control.clone();
    let speaking = async {
        for (number, piece) in pieces.iter().enumerate() {
            if number == 10 || number == 30 {
                daemon.signal("KILL");
                daemon.wait();
                daemon.again();
            }
            let stdin = ExecControl::Stdin(piece.clone());
            control.send(stdin).await.unwrap();
        }
        drop(control.send(ExecControl::CloseStdin).await);
    };
    let (said, ()) = tokio::join!(hear(&mut exec), speaking);
    let said = said.unwrap();
    assert!(said.stdout == input, "{} bytes", said.stdout.len());
    assert_eq!(said.exit, Some(ExecExit::Code(4)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_waits_holds_the_command_up_and_is_told_what_is_lost() {
    const LENGTH: u64 = 8 << 20;
    let (_daemon, client) = with_machine().await;
    let much = format!("head -c {LENGTH} /dev/zero");
    // nobody reads: the command gets no further than the guest keeps
    let mut exec = client.exec(command(&much)).await.unwrap();
    let held = loop {
        let request = ListExecsRequest {
            vm: "vms/g".to_owned(),
        };
        let listed = client.execs().list_execs(request).await.unwrap();
        let end = listed.into_inner().execs[0].end_offset;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let request = ListExecsRequest {
            vm: "vms/g".to_owned(),
        };
        let again = client.execs().list_execs(request).await.unwrap();
        if end != 0 && again.into_inner().execs[0].end_offset == end {
            break end;
        }
    };
    assert!(held < LENGTH, "{held} bytes are kept for nobody");
    let said = hear(&mut exec).await.unwrap();
    assert_eq!((said.stdout.len() as u64, said.lost), (LENGTH, Vec::new()));

    // nobody is attached, and the oldest output is dropped
    let request = CreateExecRequest {
        drop_oldest: true,
        ..command(&much)
    };
    let name = client.create_exec(request).await.unwrap();
    loop {
        let request = ListExecsRequest {
            vm: "vms/g".to_owned(),
        };
        let listed = client.execs().list_execs(request).await.unwrap();
        let execs = listed.into_inner().execs;
        let one = execs.into_iter().find(|one| one.name == name).unwrap();
        if one.exit.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut exec = client.attach(&name, 0).await.unwrap();
    let said = hear(&mut exec).await.unwrap();
    let [(0, kept_from)] = said.lost[..] else {
        panic!("{:?} were told as lost", said.lost);
    };
    assert_eq!(kept_from + said.stdout.len() as u64, LENGTH);
    assert_eq!(said.exit, Some(ExecExit::Code(0)));
}
