//! Commands whose clients come and go, and how they end.

use std::{io::Write as _, process::ExitCode, process::Stdio, time::Duration};

use banger_core::{
    domain::{Digest, Selector},
    process::command,
    vm::{
        ExecControl, ExecError, ExecEvent, ExecExit, ExecId, ExecRequest, ExecSession, OnFull,
        SpawnFailure, VmSupervisor as _, WhenDetached,
    },
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncReadExt as _;

use super::{
    fixture::{Host, block_on, next, open, outcome, send},
    proxy::Proxy,
};

/// Lines of the numbered stream: more than 20 MiB of them.
const LINES: u32 = 3_000_000;
/// What one client reads before it is killed.
const SHARE: usize = 2_000_000;

fn id(text: &str) -> ExecId {
    text.parse().unwrap()
}

fn words(argv: &[&str]) -> Vec<String> {
    argv.iter().map(|&word| word.to_owned()).collect()
}

/// A command that waits for its clients.
fn patient(name: &str, argv: &[&str]) -> ExecRequest {
    ExecRequest {
        argv: words(argv),
        id: Some(id(name)),
        when_detached: WhenDetached::Kill {
            grace: Duration::from_mins(5),
        },
        ..ExecRequest::default()
    }
}

fn numbers() -> ExecRequest {
    let script = format!("busybox seq {LINES}; exit 7");
    patient("numbers", &["sh", "-c", &script])
}

/// A client in a process of its own: writes what the command writes, from an
/// offset on, and how it ended to standard error. Arguments are the directory,
/// the VM and the offset.
pub(crate) fn client(arguments: &[String]) -> ExitCode {
    block_on(async {
        let [root, vm, offset] = arguments else {
            panic!("a directory, a VM and an offset are needed");
        };
        let (vms, vm) = (open(root).await, Selector::from(vm.as_str()));
        let mut session = match offset.parse().unwrap() {
            0 => vms.exec(&vm, numbers()).await.unwrap(),
            offset => vms.attach_exec(&vm, &id("numbers"), offset).await.unwrap(),
        };
        while let Some(event) = session.events.recv().await {
            match event.unwrap() {
                ExecEvent::Stdout(bytes) => std::io::stdout().write_all(&bytes).unwrap(),
                ExecEvent::Exit(exit) => eprintln!("exit {exit:?}"),
                other => panic!("{other:?}"),
            }
        }
        session.settled.wait().await;
    });
    ExitCode::SUCCESS
}

/// Runs a client; one that is to be killed is killed when it has written a
/// share. Answers what it wrote.
async fn run_client(host: &Host, offset: usize, to_be_killed: bool) -> (Vec<u8>, String) {
    let mut client = command(std::env::current_exe().unwrap());
    client.args(["__client", host.root().as_str(), "sessions"]);
    client.arg(offset.to_string());
    client.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut client = client.spawn().unwrap();
    let mut stdout = client.stdout.take().unwrap();
    let mut bytes = vec![0; if to_be_killed { SHARE } else { 0 }];
    stdout.read_exact(&mut bytes).await.unwrap();
    if to_be_killed {
        client.start_kill().unwrap();
    }
    // what it wrote before it died is in the pipe
    stdout.read_to_end(&mut bytes).await.unwrap();
    let mut errors = String::new();
    let mut stderr = client.stderr.take().unwrap();
    stderr.read_to_string(&mut errors).await.unwrap();
    client.wait().await.unwrap();
    (bytes, errors)
}

pub(crate) fn ten_killed_clients() {
    block_on(async {
        let host = Host::bootable().await;
        let vm = host.create("sessions").await;
        host.start(&vm).await;
        let mut all = Vec::new();
        for _ in 0..10 {
            let (bytes, errors) = run_client(&host, all.len(), true).await;
            assert_eq!(errors, "", "it was killed before the end");
            all.extend(bytes);
        }
        let (bytes, errors) = run_client(&host, all.len(), false).await;
        all.extend(bytes);
        assert_eq!(errors, "exit Code(7)\n");
        let expected = number_lines(1..=LINES);
        assert!(20 << 20 < expected.len());
        assert_eq!(all.len(), expected.len());
        assert_eq!(Digest::of(&all), Digest::of(expected.as_bytes()));
        // it was heard to its end, and nothing is kept of it
        let gone = host.vms.attach_exec(&vm, &id("numbers"), 0).await;
        assert!(
            matches!(gone, Err(ExecError::NoSuchExec { .. })),
            "{gone:?}"
        );
        kept_commands(&host, &vm).await;
        input_over_two_clients(&host, &vm).await;
    });
}

/// Started once, left alone, listed, joined late, ended.
async fn kept_commands(host: &Host, vm: &Selector) {
    let request = ExecRequest {
        on_full: OnFull::DropOldest,
        when_detached: WhenDetached::Keep,
        without_stdin: true,
        ..patient(
            "kept",
            &["sh", "-c", "busybox seq 500000; cat; echo last >&2"],
        )
    };
    let first = host.vms.exec(vm, request.clone()).await.unwrap();
    let pid = first.pid;
    drop(first);
    let again = host.vms.exec(vm, request).await.unwrap();
    assert_eq!(again.pid, pid);
    drop(again);
    let other = host.vms.exec(vm, patient("kept", &["true"])).await;
    assert!(matches!(other, Err(ExecError::IdTaken { .. })), "{other:?}");
    host.wait_until("it ended without a client", async |host| {
        let list = host.vms.list_execs(vm).await.unwrap();
        list[0].exit == Some(ExecExit::Code(0))
    })
    .await;
    let info = host.vms.list_execs(vm).await.unwrap().remove(0);
    assert_eq!((info.id.as_str(), info.pid), ("kept", pid));
    assert!(info.end_offset - info.first_offset <= 1 << 20);
    let mut late = host.vms.attach_exec(vm, &info.id, 0).await.unwrap();
    let (from, to) = (0, info.first_offset);
    assert_eq!(
        next(&mut late).await.unwrap(),
        ExecEvent::Truncated { from, to }
    );
    assert_eq!(late.events.offset(), to);
    let (exit, stdout, stderr) = outcome(late).await;
    assert_eq!((exit, stderr.as_str()), (ExecExit::Code(0), "last\n"));
    assert!(stdout.ends_with("\n500000\n"));
    let beyond = host.vms.attach_exec(vm, &info.id, info.end_offset + 1);
    assert!(matches!(beyond.await, Err(ExecError::BeyondOutput { .. })));
    host.vms.delete_exec(vm, &info.id).await.unwrap();
    let gone = host.vms.delete_exec(vm, &info.id).await;
    assert!(matches!(gone, Err(ExecError::NoSuchExec { .. })));
    assert_eq!(host.vms.list_execs(vm).await.unwrap(), []);
}

/// The second client goes on where the session says that the first was.
async fn input_over_two_clients(host: &Host, vm: &Selector) {
    let text = number_lines(0..500_000);
    let request = ExecRequest {
        when_detached: WhenDetached::Keep,
        ..patient("input", &["busybox", "sha256sum"])
    };
    let first = host.vms.exec(vm, request).await.unwrap();
    for piece in text.as_bytes()[..1_500_000].chunks(100_000) {
        send(&first, ExecControl::Stdin(piece.to_vec().into())).await;
    }
    drop(first);
    let second = host.vms.attach_exec(vm, &id("input"), 0).await.unwrap();
    let offset = usize::try_from(second.stdin_offset).unwrap();
    assert!(0 < offset && offset <= 1_500_000, "{offset}");
    let rest = text.as_bytes()[offset..].to_vec();
    send(&second, ExecControl::Stdin(rest.into())).await;
    send(&second, ExecControl::CloseStdin).await;
    let sum = format!("{}  -\n", Digest::of(text.as_bytes()).to_hex());
    assert_eq!(
        outcome(second).await,
        (ExecExit::Code(0), sum, String::new())
    );
}

pub(crate) fn every_kind_of_end() {
    block_on(async {
        let host = Host::bootable().await;
        let vm = host.create("ends").await;
        host.start(&vm).await;
        spawn_failures(&host, &vm).await;
        time_and_memory(&host, &vm).await;
        clients_that_vanish_or_are_sent_away(&host, &vm).await;
        a_login_shell(&host, &vm).await;
        a_lost_vm(&host, &vm).await;
    });
}

async fn spawn_failures(host: &Host, vm: &Selector) {
    let failing = |directory: Option<&str>, user: Option<&str>, argv: &[&str]| ExecRequest {
        argv: words(argv),
        working_directory: directory.map(str::to_owned),
        user: user.map(str::to_owned),
        ..ExecRequest::default()
    };
    for (request, expected) in [
        (failing(None, None, &["nowhere"]), SpawnFailure::NotFound),
        (
            failing(None, None, &["/etc/notes"]),
            SpawnFailure::NotExecutable,
        ),
        (
            failing(Some("/nowhere"), None, &["true"]),
            SpawnFailure::BadWorkingDirectory,
        ),
        (
            failing(None, Some("nobody-here"), &["true"]),
            SpawnFailure::UnknownUser,
        ),
    ] {
        let error = host.vms.exec(vm, request).await.unwrap_err();
        let ExecError::Spawn { failure, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!(failure, expected);
    }
    assert_eq!(host.vms.list_execs(vm).await.unwrap(), []);
}

async fn time_and_memory(host: &Host, vm: &Selector) {
    let request = ExecRequest {
        timeout: Some(Duration::from_millis(300)),
        ..patient("late", &["sh", "-c", "echo up; exec sleep 600"])
    };
    let late = host.vms.exec(vm, request).await.unwrap();
    let (exit, stdout, _) = outcome(late).await;
    assert_eq!((exit, stdout.as_str()), (ExecExit::TimedOut, "up\n"));
    // variables of a MiB each, until there is no memory
    let script = "x=0123456789abcdef; while [ ${#x} -lt 1000000 ]; do x=$x$x; done; \
        i=0; while :; do eval v$i=\\$x; i=$((i+1)); done";
    assert_eq!(host.shell(vm, script).await.0, ExecExit::OutOfMemory);
    assert_eq!(host.shell(vm, "kill -9 $$").await.0, ExecExit::Signal(9));
}

async fn clients_that_vanish_or_are_sent_away(host: &Host, vm: &Selector) {
    let mut first = host
        .vms
        .exec(vm, patient("shared", &["sleep", "600"]))
        .await
        .unwrap();
    let second = host.vms.attach_exec(vm, &id("shared"), 0).await.unwrap();
    let sent_away = next(&mut first).await;
    assert!(matches!(sent_away, Err(ExecError::TakenOver { .. })));
    assert!(first.events.recv().await.is_none());
    drop(first);
    send(&second, ExecControl::Signal(15)).await;
    assert_eq!(outcome(second).await.0, ExecExit::Signal(15));

    let dropped = host
        .vms
        .exec(vm, patient("dropped", &["sleep", "600"]))
        .await
        .unwrap();
    let ExecSession {
        control,
        events,
        settled,
        ..
    } = dropped;
    drop((control, events));
    settled.wait().await;
    // at once, and not after the grace
    assert_eq!(host.vms.list_execs(vm).await.unwrap(), []);
}

async fn a_login_shell(host: &Host, vm: &Selector) {
    let request = ExecRequest {
        login_shell: true,
        user: Some("app".to_owned()),
        ..ExecRequest::default()
    };
    let shell = host.vms.exec(vm, request).await.unwrap();
    let script = "echo $0 $USER $HOME; pwd\n";
    send(&shell, ExecControl::Stdin(script.into())).await;
    send(&shell, ExecControl::CloseStdin).await;
    assert_eq!(outcome(shell).await.1, "-sh app /tmp\n/tmp\n");
}

/// Two sessions of a VM whose VMM is killed.
async fn a_lost_vm(host: &Host, vm: &Selector) {
    let mut quiet = host.exec(vm, &["sleep", "600"]).await.unwrap();
    let mut busy = host
        .exec(vm, &["sh", "-c", "while :; do echo y; done"])
        .await
        .unwrap();
    next(&mut busy).await.unwrap();
    let is_monitor = |id: &i32| {
        let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains("__monitor")
    };
    let vmm = host.processes().into_iter().find(|id| !is_monitor(id));
    kill_process(Pid::from_raw(vmm.unwrap()).unwrap(), Signal::KILL).unwrap();
    let quiet_end = next(&mut quiet).await;
    let busy_end = loop {
        match next(&mut busy).await {
            Ok(ExecEvent::Stdout(_)) => {}
            end => break end,
        }
    };
    let reason = host.vms.show(vm).await.unwrap().reason;
    assert!(reason.contains("signal: 9"), "{reason}");
    for end in [quiet_end, busy_end] {
        match end {
            Err(ExecError::VmLost { problem, .. }) => assert_eq!(problem, reason),
            other => panic!("{other:?}"),
        }
    }
    assert!(quiet.events.recv().await.is_none());
    assert!(busy.events.recv().await.is_none());
}

pub(crate) fn broken_connections() {
    block_on(async {
        let host = Host::bootable().await;
        let vm = host.create("cut").await;
        let started = host.start(&vm).await.vm;
        let socket = host.directories.vm_runtime(started.id).join("monitor.sock");
        let proxy = Proxy::before(&socket);
        let text = number_lines(0..400_000);
        let script = "trap 'echo hit >&2' USR1; cat; echo end >&2";
        let session = host
            .vms
            .exec(&vm, patient("echo", &["sh", "-c", script]))
            .await
            .unwrap();
        let (control, input) = (session.control.clone(), text.clone());
        let sending = async {
            for (index, piece) in input.as_bytes().chunks(100_000).enumerate() {
                control
                    .send(ExecControl::Stdin(piece.to_vec().into()))
                    .await
                    .unwrap();
                if index % 3 == 1 {
                    proxy.cut();
                }
            }
            control.send(ExecControl::CloseStdin).await.unwrap();
            proxy.cut();
        };
        let ((), (exit, stdout, stderr)) = tokio::join!(sending, outcome(session));
        assert_eq!(exit, ExecExit::Code(0));
        assert!(stdout == text, "{} of {}", stdout.len(), text.len());
        assert_eq!(stderr, "end\n");
        assert!(5 < proxy.connections(), "{}", proxy.connections());
    });
}

/// Numbers, a line each.
fn number_lines(range: impl Iterator<Item = u32>) -> String {
    use std::fmt::Write as _;
    range.fold(String::new(), |mut text, number| {
        writeln!(text, "{number}").unwrap();
        text
    })
}
