//! `vm run` and `vm exec`: the order of calls, exit statuses, and what is left.

use banger_core::{
    domain::VmState,
    vm::{
        ExecControl, ExecError, ExecEvent, ExecExit, OnFull, SpawnFailure, TerminalSize,
        WhenDetached,
    },
};
use bytes::Bytes;

use super::{
    double::{Boot, Script},
    *,
};
use crate::{error::Report, terminal::tests::pair};

const REFERENCE: &str = "docker.io/library/debian:bookworm";

fn ends_with(exit: ExecExit) -> Script {
    Script::Events(vec![
        ExecEvent::Stdout(Bytes::from_static(b"out")),
        ExecEvent::Stderr(Bytes::from_static(b"err")),
        ExecEvent::Exit(exit),
    ])
}

fn world() -> World {
    World::default()
        .with_image("debian-bookworm", REFERENCE)
        .with_kernels(&["k"])
}

fn spawn_failure(failure: SpawnFailure) -> Script {
    Script::Refused(ExecError::Spawn {
        program: "x".into(),
        failure,
        message: "no such file".into(),
    })
}

#[tokio::test]
async fn a_run_creates_starts_execs_and_stops_and_rm_leaves_nothing() {
    let world = Arc::new(world().with_script(ends_with(ExecExit::Code(3))));
    let outcome = banger(&world, "banger vm run --rm debian-bookworm -- a b").await;
    assert_eq!(outcome.status(), 3);
    assert_eq!(
        (outcome.stdout.as_str(), outcome.stderr.as_str()),
        ("out", "err")
    );
    assert_eq!(
        world.calls(),
        [
            "show image debian-bookworm",
            "create BoundToCaller",
            "start BoundToCaller",
            "exec a b",
            "stop 5s"
        ]
    );
    assert!(world.vms.lock().unwrap().is_empty());
}

#[tokio::test]
async fn without_rm_the_vm_stays_stopped_and_a_signal_is_128_more() {
    let world = Arc::new(world().with_script(ends_with(ExecExit::Signal(9))));
    let outcome = banger(&world, "banger vm run debian-bookworm").await;
    assert_eq!(outcome.status(), 137);
    let states: Vec<VmState> = world
        .vms
        .lock()
        .unwrap()
        .iter()
        .map(|vm| vm.state)
        .collect();
    assert_eq!(states, [VmState::Stopped]);
}

#[tokio::test]
async fn a_command_that_cannot_be_started_is_126_or_127_and_the_vm_ends() {
    for (failure, status) in [
        (SpawnFailure::NotFound, 127),
        (SpawnFailure::NotExecutable, 126),
    ] {
        let world = Arc::new(world().with_script(spawn_failure(failure)));
        let outcome = banger(&world, "banger vm run --rm debian-bookworm -- x").await;
        assert_eq!(outcome.status(), status);
        assert_eq!(world.calls().last().map(String::as_str), Some("stop 5s"));
        assert!(world.vms.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_reference_is_pulled_once_with_the_only_kernel() {
    let world = World::default().with_kernels(&["only"]);
    let world = world.with_script(ends_with(ExecExit::Code(0)));
    let world = Arc::new(world.with_script(ends_with(ExecExit::Code(0))));
    let line = format!("banger vm run --rm {REFERENCE} -- x");
    assert_eq!(banger(&world, &line).await.status(), 0);
    let pull = format!("pull {REFERENCE} only");
    let expected = ["list images", "list kernels", &pull, "create BoundToCaller"];
    assert_eq!(world.calls()[..4], expected);
    assert_eq!(banger(&world, &line).await.status(), 0);
    let pulls = world
        .calls()
        .iter()
        .filter(|call| call.starts_with("pull"))
        .count();
    assert_eq!(pulls, 1);
}

#[tokio::test]
async fn a_name_that_is_not_here_is_taken_from_a_catalog() {
    let world = World::default().with_script(ends_with(ExecExit::Code(0)));
    let world = Arc::new(world);
    let outcome = banger(&world, "banger vm run --rm golden -- x").await;
    assert_eq!(outcome.status(), 0);
    let expected = ["show image golden", "load golden", "create BoundToCaller"];
    assert_eq!(world.calls()[..3], expected);
    let missing = banger(&world, "banger vm run --rm nobody -- x").await;
    assert_eq!(missing.status(), 125);
}

#[tokio::test]
async fn a_peer_that_pulled_first_is_accepted() {
    let world = World::default().with_kernels(&["k"]);
    let world = Arc::new(world.with_script(ends_with(ExecExit::Code(0))));
    *world.peer_pulls.lock().unwrap() = true;
    let outcome = banger(&world, &format!("banger vm run {REFERENCE}")).await;
    assert_eq!(outcome.status(), 0);
}

#[tokio::test]
async fn an_image_that_is_something_else_is_not_run() {
    let elsewhere = "ghcr.io/other/debian:bookworm";
    for line in [
        format!("banger vm run {elsewhere}"),
        format!("banger vm run --kernel other {REFERENCE}"),
        format!("banger vm run --size 2G {REFERENCE}"),
        "banger vm run --kernel other debian-bookworm".to_owned(),
    ] {
        let world = Arc::new(world());
        let outcome = banger(&world, &line).await;
        assert!(
            matches!(outcome.result, Err(CliError::ImageDiffers { .. })),
            "{line}"
        );
        assert_eq!(outcome.status(), 125);
        assert!(world.vms.lock().unwrap().is_empty());
    }
    let world = Arc::new(world().with_script(ends_with(ExecExit::Code(0))));
    let line = format!("banger vm run --kernel k --size 1G {REFERENCE}");
    assert_eq!(banger(&world, &line).await.status(), 0);
}

#[tokio::test]
async fn without_a_choice_of_kernel_nothing_is_pulled() {
    for (kernels, several) in [(&[][..], false), (&["a", "b"][..], true)] {
        let world = Arc::new(World::default().with_kernels(kernels));
        let outcome = banger(&world, &format!("banger vm run {REFERENCE}")).await;
        match outcome.result {
            Err(CliError::NoKernel) => assert!(!several),
            Err(CliError::SeveralKernels { names }) => assert_eq!(names.len(), 2),
            other => panic!("{other:?}"),
        }
        assert_eq!(world.calls(), ["list images", "list kernels"]);
    }
}

#[tokio::test]
async fn a_vm_that_does_not_start_is_deleted_only_with_rm() {
    for (rm, left) in [("--rm", 0), ("", 1)] {
        let world = Arc::new(world());
        *world.boot.lock().unwrap() = Boot::Fails;
        let outcome = banger(&world, &format!("banger vm run {rm} debian-bookworm")).await;
        assert_eq!(outcome.status(), 125);
        assert!(matches!(outcome.result, Err(CliError::StartVm(_))));
        assert_eq!(world.vms.lock().unwrap().len(), left);
    }
}

#[tokio::test]
async fn an_ask_to_end_during_the_boot_leaves_nothing_running() {
    for (options, expected) in [
        ("--rm", "delete by force"),
        ("", "stop 0ns"),
        ("-d", "stop 0ns"),
    ] {
        let world = Arc::new(world());
        let (begun, mut booting) = mpsc::channel(1);
        *world.boot.lock().unwrap() = Boot::Hangs(begun);
        let (task, style) = parse(&format!("banger vm run {options} debian-bookworm"));
        let stage = Stage::new(&world, null(), style);
        let user = stage.user.clone();
        let interrupt = async {
            booting.recv().await.unwrap();
            user.send(HostSignal::Interrupt).await.unwrap();
        };
        let (outcome, ()) = tokio::join!(stage.play(task), interrupt);
        assert_eq!(outcome.status(), 130);
        assert_eq!(world.calls().last().map(String::as_str), Some(expected));
    }
}

#[tokio::test]
async fn the_second_signal_stops_the_vm_at_once() {
    let (told, mut hears) = mpsc::channel(4);
    let world = Arc::new(world().with_script(Script::Endless(told)));
    let (task, style) = parse("banger vm run --rm debian-bookworm");
    let stage = Stage::new(&world, null(), style);
    let user = stage.user.clone();
    let interrupt = async {
        assert_eq!(hears.recv().await, Some(ExecControl::CloseStdin));
        user.send(HostSignal::Interrupt).await.unwrap();
        assert_eq!(hears.recv().await, Some(ExecControl::Signal(2)));
        user.send(HostSignal::Interrupt).await.unwrap();
    };
    let (outcome, ()) = tokio::join!(stage.play(task), interrupt);
    assert_eq!(outcome.status(), 130);
    assert_eq!(world.calls().last().map(String::as_str), Some("stop 0ns"));
    assert!(world.vms.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_stop_that_fails_is_told_and_keeps_the_commands_status() {
    let world = Arc::new(world().with_script(ends_with(ExecExit::Code(0))));
    *world.stop_fails.lock().unwrap() = true;
    let outcome = banger(&world, "banger vm run --name v debian-bookworm").await;
    assert_eq!(outcome.status(), 0);
    assert_eq!(
        outcome.stderr,
        "errbanger: VM v did not stop within 5s\nhint: end it at once: `banger vm kill v`\n"
    );
}

#[tokio::test]
async fn a_detached_run_prints_the_name_and_goes() {
    let world = Arc::new(world());
    let outcome = banger(&world, "banger vm run -d --name v debian-bookworm").await;
    assert_eq!((outcome.status(), outcome.stdout.as_str()), (0, "v\n"));
    assert_eq!(
        world.calls(),
        [
            "show image debian-bookworm",
            "create Detached",
            "start Detached"
        ]
    );
}

#[tokio::test]
async fn a_missing_image_is_125() {
    let world = Arc::new(world());
    let outcome = banger(&world, "banger vm run missing").await;
    assert_eq!(outcome.status(), 125);
    assert_eq!(world.calls(), ["show image missing"]);
}

#[tokio::test]
async fn exec_passes_the_request_the_input_and_the_status() {
    let (told, mut hears) = mpsc::channel(4);
    let world = World::default().with_vm("v", VmState::Running);
    let world = Arc::new(world.with_script(Script::Endless(told)));
    let (task, style) = parse("banger vm exec -i --env A=1 --workdir /w --user u v -- cat -");
    let (read, mut write) = std::io::pipe().unwrap();
    let stage = Stage::new(&world, read.into(), style);
    let user = stage.user.clone();
    let guest = async {
        std::io::Write::write_all(&mut write, b"hello").unwrap();
        let hello = ExecControl::Stdin(Bytes::from_static(b"hello"));
        assert_eq!(hears.recv().await, Some(hello));
        drop(write);
        assert_eq!(hears.recv().await, Some(ExecControl::CloseStdin));
        user.send(HostSignal::Terminate).await.unwrap();
        assert_eq!(hears.recv().await, Some(ExecControl::Signal(15)));
        user.send(HostSignal::Terminate).await.unwrap();
    };
    let (outcome, ()) = tokio::join!(stage.play(task), guest);
    assert_eq!(outcome.status(), 143);
    assert_eq!(world.calls(), ["exec cat -"]);
    let request = world.requests.lock().unwrap().pop().unwrap();
    assert_eq!(request.env, ["A=1"]);
    assert_eq!(request.working_directory.as_deref(), Some("/w"));
    assert_eq!(request.user.as_deref(), Some("u"));
    assert_eq!(request.terminal, None);
}

#[tokio::test]
async fn a_terminals_size_goes_with_the_request() {
    let world = World::default().with_vm("v", VmState::Running);
    let world = Arc::new(world.with_script(ends_with(ExecExit::Code(0))));
    let (task, style) = parse("banger vm exec -it v -- sh");
    let (_master, slave) = pair();
    let outcome = Stage::new(&world, slave, style).play(task).await;
    assert_eq!(outcome.status(), 0);
    let request = world.requests.lock().unwrap().pop().unwrap();
    assert_eq!(
        request.terminal,
        Some(TerminalSize {
            rows: 24,
            columns: 80
        })
    );
}

#[tokio::test]
async fn commands_are_left_alone_listed_and_joined_again() {
    let world = World::default().with_vm("one", VmState::Running);
    let world = world.with_script(Script::Events(Vec::new()));
    let world = Arc::new(world.with_script(ends_with(ExecExit::TimedOut)));
    let detach = "banger vm exec --detach --timeout 7 --env A=b one -- make all";
    let detached = banger(&world, detach).await;
    assert_eq!(detached.status(), 0);
    assert_eq!(detached.stdout.trim_end().len(), 12, "{}", detached.stdout);
    let asked = world.requests.lock().unwrap().remove(0);
    assert!(asked.without_stdin && asked.terminal.is_none());
    assert_eq!(asked.when_detached, WhenDetached::Keep);
    assert_eq!(asked.on_full, OnFull::DropOldest);
    assert_eq!(asked.timeout, Some(std::time::Duration::from_secs(7)));
    let listed = banger(&world, "banger vm execs one").await;
    assert!(
        listed.stdout.contains("job  timed out"),
        "{}",
        listed.stdout
    );
    let joined = banger(&world, "banger vm attach one job --offset 5").await;
    assert_eq!(joined.status(), 124);
    assert_eq!(joined.stdout, "out");
    assert!(joined.stderr.ends_with("the command's time was up\n"));
    let calls = world.calls();
    assert_eq!(calls[calls.len() - 2..], ["list execs", "attach job 5"]);
}

#[tokio::test]
async fn a_kept_command_loses_nothing_and_a_gone_one_is_an_error() {
    let world = World::default().with_vm("one", VmState::Running);
    let world = world.with_script(ends_with(ExecExit::Code(0)));
    let gone = ExecError::NoSuchExec {
        name: "one".parse().unwrap(),
        id: "job".parse().unwrap(),
    };
    let world = Arc::new(world.with_script(Script::Refused(gone)));
    let kept = banger(&world, "banger vm exec --keep --id job one -- make").await;
    assert_eq!(kept.status(), 0);
    let asked = world.requests.lock().unwrap().remove(0);
    assert_eq!(asked.id, "job".parse().ok());
    assert_eq!(asked.when_detached, WhenDetached::Keep);
    assert_eq!(asked.on_full, OnFull::Wait);
    let gone = banger(&world, "banger vm attach one job").await;
    assert_eq!(gone.status(), 125);
    let report = Report::of(&gone.result.unwrap_err()).human();
    assert!(report.contains("banger vm execs one"), "{report}");
}
