//! Commands in a running VM.

use banger_core::{
    domain::{VmExit, VmState},
    vm::{
        ExecControl, ExecError, ExecEvent, ExecExit, ExecRequest, SpawnFailure, TerminalSize,
        VmSupervisor as _,
    },
};

use super::fixture::{GRACE, Host, block_on, next, outcome, send};

pub(crate) fn exec_is_exact() {
    block_on(async {
        let host = Host::bootable().await;
        let vm = host.create("exact").await;
        let refused = host.exec(&vm, &["true"]).await.unwrap_err();
        assert!(matches!(
            refused,
            ExecError::NotRunning {
                state: VmState::Created,
                ..
            }
        ));
        let began = std::time::Instant::now();
        let started = host.start(&vm).await.vm;
        println!("start took {:?}", began.elapsed());
        assert_eq!(started.state, VmState::Running);
        assert!(started.boot_id.is_some() && started.backend.is_some());
        output_and_status(&host, &vm).await;
        spawn_failures(&host, &vm).await;
        input(&host, &vm).await;
        settings(&host, &vm).await;
        let stopped = host.vms.stop(&vm, GRACE).await.unwrap();
        assert_eq!(
            (stopped.state, &stopped.exit),
            (VmState::Stopped, &Some(VmExit::PoweredOff))
        );
        let again = host.vms.stop(&vm, GRACE).await.unwrap();
        assert_eq!(again, stopped);
        let deleted = host.vms.delete(&vm, false).await.unwrap();
        host.assert_nothing_left(&deleted).await;
    });
}

async fn output_and_status(host: &Host, vm: &banger_core::domain::Selector) {
    let both = host.shell(vm, "echo out; echo err >&2; exit 3").await;
    assert_eq!(
        both,
        (ExecExit::Code(3), "out\n".to_owned(), "err\n".to_owned())
    );
    let signal = host.shell(vm, "kill -9 $$").await;
    assert_eq!(signal.0, ExecExit::Signal(9));
    let much = host.shell(
        vm,
        "i=0; while [ $i -lt 20000 ]; do echo 0123456789; i=$((i+1)); done",
    );
    let (exit, stdout, _) = much.await;
    assert_eq!((exit, stdout.len()), (ExecExit::Code(0), 20_000 * 11));
}

async fn spawn_failures(host: &Host, vm: &banger_core::domain::Selector) {
    let missing = host.exec(vm, &["no-such-program"]).await.unwrap_err();
    assert!(
        matches!(&missing, ExecError::Spawn { failure: SpawnFailure::NotFound, program, .. } if program == "no-such-program"),
        "{missing:?}"
    );
    let text = host.exec(vm, &["/etc/notes"]).await.unwrap_err();
    assert!(
        matches!(
            text,
            ExecError::Spawn {
                failure: SpawnFailure::NotExecutable,
                ..
            }
        ),
        "{text:?}"
    );
    // a program that exits 127 is not a program that is missing
    assert_eq!(host.shell(vm, "exit 127").await.0, ExecExit::Code(127));
}

async fn input(host: &Host, vm: &banger_core::domain::Selector) {
    let session = host.exec(vm, &["cat"]).await.unwrap();
    let text = "0123456789abcdef".repeat(20_000);
    let control = session.control.clone();
    let sent = text.clone();
    let sending = async move {
        control.send(ExecControl::Stdin(sent.into())).await.unwrap();
        control.send(ExecControl::CloseStdin).await.unwrap();
    };
    let ((), (exit, stdout, _)) = tokio::join!(sending, outcome(session));
    assert_eq!((exit, stdout.len()), (ExecExit::Code(0), text.len()));
    assert!(stdout == text, "input comes back as it was");
}

async fn settings(host: &Host, vm: &banger_core::domain::Selector) {
    let request = ExecRequest {
        argv: ["sh", "-c", "echo $FROM $MINE; pwd; id -u"]
            .map(str::to_owned)
            .to_vec(),
        env: vec!["MINE=request".to_owned()],
        working_directory: Some("/tmp".to_owned()),
        user: Some("app".to_owned()),
        ..ExecRequest::default()
    };
    let session = host.vms.exec(vm, request).await.unwrap();
    assert_eq!(outcome(session).await.1, "image request\n/tmp\n1000\n");
    let terminal = ExecRequest {
        terminal: Some(TerminalSize {
            rows: 24,
            columns: 80,
        }),
        ..ExecRequest::default()
    };
    // the image's own command: a shell, here on a terminal
    let session = host.vms.exec(vm, terminal).await.unwrap();
    send(&session, ExecControl::Stdin("exit 5\n".into())).await;
    assert_eq!(outcome(session).await.0, ExecExit::Code(5));
}

pub(crate) fn sessions_can_be_given_up() {
    block_on(async {
        let host = Host::bootable().await;
        let vm = host.create("sessions").await;
        host.start(&vm).await;
        let script = "echo up; exec sleep 600";
        let mut signalled = host.exec(&vm, &["sh", "-c", script]).await.unwrap();
        assert_eq!(
            next(&mut signalled).await.unwrap(),
            ExecEvent::Stdout("up\n".into())
        );
        send(&signalled, ExecControl::Signal(15)).await;
        assert_eq!(outcome(signalled).await.0, ExecExit::Signal(15));

        let dropped = host.exec(&vm, &["sleep", "600"]).await.unwrap();
        let pid = dropped.pid;
        drop(dropped);
        host.wait_until("the dropped session's process is gone", async |host| {
            let alive = host.shell(&vm, &format!("kill -0 {pid}")).await;
            alive.0 != ExecExit::Code(0)
        })
        .await;

        // one session that is not read holds nobody else up
        let stalled = host
            .exec(&vm, &["sh", "-c", "while :; do echo y; done"])
            .await
            .unwrap();
        assert_eq!(host.shell(&vm, "echo still here").await.1, "still here\n");
        drop(stalled);

        let mut lost = host.exec(&vm, &["sleep", "600"]).await.unwrap();
        host.vms.stop(&vm, std::time::Duration::ZERO).await.unwrap();
        assert!(matches!(
            next(&mut lost).await,
            Err(ExecError::VmLost { .. })
        ));
    });
}
