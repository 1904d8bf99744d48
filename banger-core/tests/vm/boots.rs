//! What a machine runs by itself: a command, an init of the image's own.

use std::time::Duration;

use banger_core::{
    ErrorKind,
    disk::DiskReader,
    domain::{BootMode, CommandEnd, RunConfig, Selector, Vm, VmExit, VmProcess, VmState},
    progress::NoProgress,
    vm::{BootFailure, CreateVm, ExecExit, Lifetime, StartVmError, VmSupervisor as _},
};
use camino::Utf8Path;

use super::{
    fixture::{GRACE, Host, PATIENCE, block_on, request},
    images,
};

/// What systemd may take to start and to stop everything, under emulation.
const SYSTEMD_PATIENCE: Duration = Duration::from_mins(3);

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

/// A VM that exists for a command.
fn command(name: &str, argv: &[&str]) -> CreateVm {
    CreateVm {
        boot_mode: BootMode::Entrypoint,
        process: VmProcess {
            argv: strings(argv),
            ..VmProcess::default()
        },
        ..request(name)
    }
}

async fn run_to_its_end(host: &Host, request: CreateVm) -> Vm {
    let vm = host.make(request).await;
    let id = Selector::from(vm.id.to_string().as_str());
    host.start(&id).await;
    host.vms.wait(&id, Some(PATIENCE)).await.unwrap()
}

/// Its output is the console's, its end the machine's, which is an orderly one.
pub(crate) fn a_command_is_what_a_machine_is_for() {
    block_on(async {
        let host = Host::bootable().await;
        let script = "echo out; echo err >&2; id -u; pwd; echo $WHO $FROM; exit 3";
        let mut wanted = command("job", &["sh", "-c", script]);
        wanted.process.env = strings(&["WHO=me"]);
        wanted.process.user = Some("app".to_owned());
        wanted.process.working_directory = Some("/tmp".to_owned());
        let ended = run_to_its_end(&host, wanted).await;
        assert_eq!(
            (ended.state, ended.exit.clone()),
            (VmState::Stopped, Some(VmExit::Command(CommandEnd::Code(3))))
        );
        assert_eq!(ended.reason, "its command ended with status 3");
        let vm = Selector::from("job");
        let console = host.console(&vm).await;
        for line in ["out\n", "err\n", "1000\n", "/tmp\n", "me image\n"] {
            assert!(console.contains(line), "{line:?} in {console:?}");
        }
        check(&host.directories.vm(ended.id).join("writable.ext4"));

        // the record keeps what it runs: it can run again
        host.start(&vm).await;
        let again = host.vms.wait(&vm, Some(PATIENCE)).await.unwrap();
        assert_eq!(again.exit, ended.exit);
        let killed = run_to_its_end(&host, command("killed", &["sh", "-c", "kill -KILL $$"])).await;
        assert_eq!(killed.exit, Some(VmExit::Command(CommandEnd::Signal(9))));

        let mut once = command("once", &["echo", "gone"]);
        once.remove_on_stop = true;
        let vm = host.make(once).await;
        host.start(&Selector::from("once")).await;
        host.wait_until("it is gone", async |host| {
            host.store.vm(vm.id).await.unwrap().is_none()
        })
        .await;
        host.assert_nothing_left(&vm).await;
    });
}

/// Stopping asks it by the image's own signal, and waits for it.
pub(crate) fn a_command_is_asked_to_stop() {
    block_on(async {
        let host = Host::bootable().await;
        let script = "trap 'echo stopping; exit 5' USR1; echo up; while :; do sleep 1; done";
        let config = RunConfig {
            entrypoint: strings(&["sh", "-c", script]),
            env: strings(&["PATH=/bin"]),
            stop_signal: "SIGUSR1".to_owned(),
            ..RunConfig::default()
        };
        images::add_variant(&host, "daemon", config).await;
        let mut wanted = command("served", &[]);
        wanted.image = Selector::from("daemon");
        let vm = Selector::from(host.make(wanted).await.name.as_str());
        let started = host.start(&vm).await.vm;
        assert_eq!(started.reason, "its command runs");
        // it runs beside others
        assert_eq!(host.shell(&vm, "echo here").await.1, "here\n");
        host.wait_until("it is up", async |host| {
            host.console(&vm).await.contains("up\n")
        })
        .await;
        let stopped = host.vms.stop(&vm, GRACE).await.unwrap();
        assert_eq!(stopped.exit, Some(VmExit::Command(CommandEnd::Code(5))));
        assert!(host.console(&vm).await.contains("stopping\n"));
        let changes = host.store.vm_changes(Some(started.id), 0, 100).await;
        let told = |change: &banger_core::domain::VmChange| change.reason.contains("sent SIGUSR1");
        assert!(changes.unwrap().iter().any(told));
    });
}

async fn boot_failure(host: &Host, wanted: CreateVm) -> (BootFailure, String, ErrorKind) {
    let vm = host.make(wanted).await;
    let id = Selector::from(vm.id.to_string().as_str());
    let started = host.vms.start(&id, Lifetime::Detached, &NoProgress).await;
    let error = started.unwrap_err();
    let kind = error.kind();
    let StartVmError::BootFailed { failure, stage, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(host.state(&id).await, VmState::Failed);
    let deleted = host.vms.delete(&id, false).await.unwrap();
    host.assert_nothing_left(&deleted).await;
    (failure, stage, kind)
}

/// What cannot be run fails the boot and says why; nothing to run does not.
pub(crate) fn commands_that_do_not_start() {
    block_on(async {
        let host = Host::bootable().await;
        let mut stranger = command("stranger", &["sh"]);
        stranger.process.user = Some("nobody-here".to_owned());
        for (wanted, failure, kind) in [
            (
                command("missing", &["/nowhere"]),
                BootFailure::CommandNotFound,
                ErrorKind::NotFound,
            ),
            (
                command("notes", &["/etc/notes"]),
                BootFailure::CommandNotExecutable,
                ErrorKind::PermissionDenied,
            ),
            (
                stranger,
                BootFailure::CommandInvalid,
                ErrorKind::InvalidInput,
            ),
        ] {
            let expected = (failure, "command".to_owned(), kind);
            assert_eq!(boot_failure(&host, wanted).await, expected);
        }
        images::add_variant(&host, "idle", RunConfig::default()).await;
        let mut idle = command("idle", &[]);
        idle.image = Selector::from("idle");
        host.make(idle).await;
        let vm = Selector::from("idle");
        let started = host.start(&vm).await.vm;
        assert!(
            started.reason.contains("image names none"),
            "{}",
            started.reason
        );
        assert_eq!(host.shell(&vm, "echo here").await.1, "here\n");
        host.vms.delete(&vm, true).await.unwrap();
    });
}

/// One static program alone: no shell, no C library, no directory.
pub(crate) fn a_scratch_image() {
    block_on(async {
        let host = Host::bootable().await;
        let script = "echo alone; test -d /proc/self && exit 42";
        let config = RunConfig {
            entrypoint: strings(&["/busybox"]),
            cmd: strings(&["sh", "-c", script]),
            ..RunConfig::default()
        };
        images::add_scratch(&host, "scratch", config).await;
        let mut wanted = command("alone", &[]);
        wanted.image = Selector::from("scratch");
        let ended = run_to_its_end(&host, wanted).await;
        let console = host.console(&Selector::from("alone")).await;
        assert_eq!(
            ended.exit,
            Some(VmExit::Command(CommandEnd::Code(42))),
            "{console}"
        );
        assert!(console.contains("alone\n"), "{console}");
    });
}

/// systemd is the first process, comes up whole, is asked to power off and does
/// so in its own order.
pub(crate) fn a_debian_with_systemd() {
    block_on(async {
        let host = Host::bootable().await;
        images::add_systemd(&host, "debian").await;
        let mut wanted = request("whole");
        wanted.image = Selector::from("debian");
        wanted.boot_mode = BootMode::Init;
        wanted.memory = banger_core::domain::Bytes::from_mib(512);
        let vm = Selector::from(host.make(wanted).await.name.as_str());
        let started = host.start(&vm).await.vm;
        assert_eq!(started.reason, "its agent answers beside its own init");
        let first = host.shell(&vm, "readlink /proc/1/exe; hostname").await.1;
        assert_eq!(first, "/usr/lib/systemd/systemd\nwhole\n");
        let state = settled(&host, &vm).await;
        let told = host.shell(&vm, "systemctl --failed --no-legend; systemctl list-jobs");
        let told = told.await;
        assert_eq!(state, "running\n", "{told:?}");
        let unit = "systemd-run --unit=marker --property=ExecStop='/bin/touch /stopped' sleep 1000";
        let (exit, _, complaint) = host.shell(&vm, unit).await;
        assert_eq!(exit, ExecExit::Code(0), "{complaint}");
        let stopped = host.vms.stop(&vm, SYSTEMD_PATIENCE).await.unwrap();
        assert_eq!(stopped.exit, Some(VmExit::PoweredOff), "{}", stopped.reason);
        let disk = host.directories.vm(started.id).join("writable.ext4");
        recover(&disk);
        let marker = DiskReader::open(&disk).unwrap().entry(b"/upper/stopped");
        marker.expect("systemd stopped its units");
    });
}

/// What systemd says of itself once it has started everything.
async fn settled(host: &Host, vm: &Selector) -> String {
    let end = tokio::time::Instant::now() + SYSTEMD_PATIENCE;
    loop {
        let (_, state, _) = host.shell(vm, "systemctl is-system-running").await;
        let settled = ["running\n", "degraded\n"].contains(&state.as_str());
        if settled || end <= tokio::time::Instant::now() {
            return state;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// An image without an init is told from one whose init fails.
pub(crate) fn an_image_without_an_init() {
    block_on(async {
        let host = Host::bootable().await;
        let mut wanted = request("headless");
        wanted.boot_mode = BootMode::Init;
        let expected = (
            BootFailure::NoInit,
            "init".to_owned(),
            ErrorKind::InvalidInput,
        );
        assert_eq!(boot_failure(&host, wanted.clone()).await, expected);
        // any program can be the first process: this one powers off by itself
        wanted.process.argv = strings(&["/bin/sh", "-c", "sleep 5; busybox poweroff -f"]);
        let ended = run_to_its_end(&host, wanted).await;
        assert_eq!(ended.exit, Some(VmExit::PoweredOff), "{}", ended.reason);
    });
}

fn check(disk: &Utf8Path) {
    e2fsck(disk, "-fn", &[0]);
}

/// Replays the journal of a disk that was not unmounted.
fn recover(disk: &Utf8Path) {
    e2fsck(disk, "-fp", &[0, 1]);
}

fn e2fsck(disk: &Utf8Path, options: &str, fine: &[i32]) {
    #[expect(clippy::disallowed_methods, reason = "the tool that knows")]
    let checked = std::process::Command::new("e2fsck")
        .args([options, disk.as_str()])
        .output()
        .expect("install package e2fsprogs");
    let code = checked.status.code().unwrap();
    assert!(fine.contains(&code), "{checked:?}");
}
