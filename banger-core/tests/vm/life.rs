//! The life of a VM: started, stopped, started again, bound to its caller.

use std::time::{Duration, UNIX_EPOCH};

use banger_core::{
    ErrorKind,
    clock::{Clock as _, SystemClock},
    domain::{Bytes, RootDiskMode, Selector, Vm, VmExit, VmState},
    progress::NoProgress,
    vm::{
        CreateVmError, DeleteVmError, ExecControl, ExecExit, Lifetime, RestartVmError, SetVm,
        SetVmError, StartVmError, VmSupervisor as _,
    },
};

use camino::Utf8Path;

use super::fixture::{GRACE, Host, PATIENCE, block_on, request, send};

pub(crate) fn writes_survive_a_restart() {
    block_on(async {
        let host = Host::bootable().await;
        let vm = host.create("restarted").await;
        let first = host.start(&vm).await.vm;
        assert_eq!(
            host.shell(&vm, "echo kept > /kept").await.0,
            ExecExit::Code(0)
        );
        host.vms.stop(&vm, GRACE).await.unwrap();
        let second = host.start(&vm).await.vm;
        assert_ne!(first.boot_id, second.boot_id);
        assert!(first.generation < second.generation);
        assert_eq!(host.shell(&vm, "cat /kept").await.1, "kept\n");
        let forced = host.vms.stop(&vm, Duration::ZERO).await.unwrap();
        assert_eq!(
            (forced.state, forced.exit),
            (VmState::Stopped, Some(VmExit::Forced))
        );
        assert!(!host.directories.vm_runtime(forced.id).exists());
        let deleted = host.vms.delete(&vm, false).await.unwrap();
        host.assert_nothing_left(&deleted).await;
    });
}

/// The copy is as large as was asked for, and whole after a power-off; the
/// image stays as it is.
pub(crate) fn a_cloned_disk() {
    block_on(async {
        let host = Host::bootable().await;
        let image = host.root().join("rootfs.ext4");
        let before = std::fs::read(&image).unwrap();
        let mut wanted = request("cloned");
        wanted.root_disk = RootDiskMode::Clone;
        wanted.disk_size = Bytes::from_mib(63);
        let refused = host.refused(wanted.clone()).await;
        assert!(
            matches!(refused, CreateVmError::InvalidSpec { .. }),
            "{refused:?}"
        );
        wanted.disk_size = Bytes::from_mib(300);
        let vm = host.make(wanted).await;
        let disk = host.directories.vm_root_disk(vm.id);
        assert_eq!(disk.metadata().unwrap().len(), 300 << 20);
        let id = Selector::from(vm.id.to_string().as_str());
        for content in ["", "kept\n"] {
            host.start(&id).await;
            let script = "cat /kept; echo kept > /kept; cat /proc/mounts";
            let (exit, stdout, stderr) = host.shell(&id, script).await;
            assert_eq!(exit, ExecExit::Code(0), "{stderr}");
            let mounts = stdout.strip_prefix(content).unwrap();
            assert!(mounts.contains(" / ext4 rw"), "{mounts}");
            let stopped = host.vms.stop(&id, GRACE).await.unwrap();
            assert_eq!(stopped.exit, Some(VmExit::PoweredOff));
            check(&disk);
        }
        assert!(
            std::fs::read(&image).unwrap() == before,
            "the image was changed"
        );
        let deleted = host.vms.delete(&id, false).await.unwrap();
        host.assert_nothing_left(&deleted).await;
    });
}

fn check(disk: &Utf8Path) {
    #[expect(clippy::disallowed_methods, reason = "the tool that knows")]
    let checked = std::process::Command::new("e2fsck")
        .args(["-fn", disk.as_str()])
        .output()
        .expect("install package e2fsprogs");
    assert!(checked.status.success(), "{checked:?}");
}

pub(crate) fn a_running_vm_is_protected() {
    block_on(async {
        let host = Host::bootable().await;
        let mut several = request("guarded");
        several.vcpus = 2;
        let vm = host.make(several).await;
        let vm = vm.name.as_str().into();
        let start = || host.vms.start(&vm, Lifetime::Detached, &NoProgress);
        let (one, other) = tokio::join!(start(), start());
        let (won, lost) = if one.is_ok() {
            (one, other)
        } else {
            (other, one)
        };
        assert_eq!(won.unwrap().vm.state, VmState::Running);
        let lost = lost.unwrap_err();
        assert!(
            matches!(
                lost,
                StartVmError::WrongState { .. } | StartVmError::Busy { .. }
            ),
            "{lost:?}"
        );
        let refused = start().await.unwrap_err();
        assert!(matches!(
            refused,
            StartVmError::WrongState {
                state: VmState::Running,
                ..
            }
        ));
        let refused = host.vms.delete(&vm, false).await.unwrap_err();
        assert!(matches!(
            refused,
            DeleteVmError::Running {
                state: VmState::Running,
                ..
            }
        ));
        keeps_time(&host, &vm).await;
        let deleted = host.vms.delete(&vm, true).await.unwrap();
        host.assert_nothing_left(&deleted).await;
    });
}

/// The guest's clock is the host's and does not depend on counted ticks.
async fn keeps_time(host: &Host, vm: &Selector) {
    const SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let script = format!("cat {SOURCE}; busybox date +%s");
    let (_, output, _) = host.shell(vm, &script).await;
    let now = SystemClock.now().duration_since(UNIX_EPOCH).unwrap();
    let (source, time) = output.trim().split_once('\n').unwrap();
    assert!(
        source.starts_with("tsc") || source == "kvm-clock",
        "{source}"
    );
    let time: u64 = time.parse().unwrap();
    assert!(time.abs_diff(now.as_secs()) < 5, "{time} is not {now:?}");
}

pub(crate) fn a_guest_may_power_off() {
    block_on(async {
        let host = Host::bootable().await;
        let vm = host.create("sleepy").await;
        host.start(&vm).await;
        let session = host.exec(&vm, &["poweroff", "-f"]).await;
        host.wait_until("the VM stopped", async |host| {
            host.state(&vm).await == VmState::Stopped
        })
        .await;
        drop(session);
        let stopped = host.vms.show(&vm).await.unwrap();
        assert_eq!(stopped.exit, Some(VmExit::PoweredOff));
        host.start(&vm).await;
        host.vms.delete(&vm, true).await.unwrap();
    });
}

pub(crate) fn a_dropped_lifeline() {
    block_on(async {
        let host = Host::bootable().await;
        let mut bound = request("bound");
        bound.remove_on_stop = true;
        let vm = host.make(bound).await;
        let selector = vm.name.as_str().into();
        let started = host
            .vms
            .start(&selector, Lifetime::BoundToCaller, &NoProgress)
            .await;
        let started = started.unwrap();
        assert_eq!(host.shell(&selector, "echo up").await.1, "up\n");
        assert!(started.lifeline.is_some());
        drop(started);
        host.wait_until("the VM is removed", async |host| {
            host.store.vm(vm.id).await.unwrap().is_none()
        })
        .await;
        host.assert_nothing_left(&vm).await;
    });
}

pub(crate) fn a_boot_can_be_stopped() {
    block_on(async {
        // a machine that runs and never says anything
        let host = Host::with_fake_vmm("while :; do sleep 600; done").await;
        let vm = host.create("booting").await;
        let stopping = async {
            host.wait_until("it boots", async |host| {
                host.state(&vm).await == VmState::Starting
            })
            .await;
            host.vms.stop(&vm, GRACE).await.unwrap()
        };
        let starting = host.vms.start(&vm, Lifetime::Detached, &NoProgress);
        let (started, stopped) = tokio::join!(starting, stopping);
        assert!(matches!(
            started.unwrap_err(),
            StartVmError::BootFailed { .. }
        ));
        assert_eq!(
            (stopped.state, stopped.exit),
            (VmState::Stopped, Some(VmExit::Forced))
        );
        let deleted = host.vms.delete(&vm, false).await.unwrap();
        host.assert_nothing_left(&deleted).await;
    });
}

/// A restart is another boot; a killed machine ends at once; both are seen by
/// whoever waits, also of a VM that is gone by then.
pub(crate) fn restart_kill_and_wait() {
    block_on(async {
        let host = Host::bootable().await;
        let vm = host.create("again").await;
        let first = host.vms.restart(&vm, GRACE, &NoProgress).await.unwrap();
        let moment = Some(Duration::from_millis(300));
        let late = host.vms.wait(&vm, moment).await.unwrap_err();
        assert_eq!(late.kind(), ErrorKind::Timeout, "{late:?}");
        let second = host.vms.restart(&vm, GRACE, &NoProgress).await.unwrap();
        assert_eq!(second.state, VmState::Running);
        assert_ne!(first.boot_id, second.boot_id);
        let waiting = host.vms.wait(&vm, Some(PATIENCE));
        let (ended, killed) = tokio::join!(waiting, host.vms.kill(&vm));
        let (ended, killed) = (ended.unwrap(), killed.unwrap());
        assert_eq!(
            (killed.state, &killed.exit),
            (VmState::Stopped, &Some(VmExit::Forced))
        );
        assert_eq!(ended, killed);
        let twice = host.vms.kill(&vm).await.unwrap_err();
        assert_eq!(twice.kind(), ErrorKind::Conflict, "{twice:?}");

        let mut once = request("once");
        once.remove_on_stop = true;
        let once = host.make(once).await;
        let id = Selector::from(once.id.to_string().as_str());
        host.start(&id).await;
        let refused = host.vms.restart(&id, GRACE, &NoProgress).await.unwrap_err();
        assert!(
            matches!(refused, RestartVmError::RemovedOnStop { .. }),
            "{refused:?}"
        );
        let (ended, stopped) = tokio::join!(
            host.vms.wait(&id, Some(PATIENCE)),
            host.vms.stop(&id, GRACE)
        );
        stopped.unwrap();
        let ended = ended.unwrap();
        assert_eq!(
            (ended.state, ended.exit),
            (VmState::Stopped, Some(VmExit::PoweredOff))
        );
        host.vms.delete(&vm, false).await.unwrap();
        host.assert_nothing_left(&once).await;
    });
}

/// The reasons a VM gave while it was stopping, in order.
async fn rungs(host: &Host, vm: &Vm) -> Vec<String> {
    let changes = host.store.vm_changes(Some(vm.id), 0, 100).await.unwrap();
    let stopping = changes.into_iter();
    let stopping = stopping.filter(|change| change.state == VmState::Stopping);
    stopping.map(|change| change.reason).collect()
}

const AGENT: &str = "it was asked to stop: its agent is asked to power off";
const BUTTON: &str = "it was asked to stop: its power button is pressed";
const TERMINATED: &str = "it was asked to stop: its VMM is terminated";
const KILLED: &str = "it was asked to stop: its VMM is killed";

/// Who does not answer on one rung of the ladder does so on the next.
pub(crate) fn the_ladder() {
    block_on(async {
        let host = Host::bootable().await;
        let vm = host.create("ladder").await;
        let started = host.start(&vm).await.vm;
        // the agent, which is the shell's parent, stands still
        let frozen = "read go; echo written > /kept; kill -STOP $PPID; echo frozen > /dev/console";
        let session = host.exec(&vm, &["sh", "-c", frozen]).await.unwrap();
        send(&session, ExecControl::Stdin("\n".into())).await;
        host.wait_until("the agent stands still", async |host| {
            host.console(&vm).await.contains("frozen")
        })
        .await;
        let stopped = host.vms.stop(&vm, GRACE).await.unwrap();
        assert_eq!(
            stopped.exit,
            Some(VmExit::PoweredOff),
            "{}",
            host.console(&vm).await
        );
        assert_eq!(rungs(&host, &started).await, [AGENT, BUTTON]);
        assert!(host.console(&vm).await.contains("asks for power-off"));
        check(&host.directories.vm(started.id).join("writable.ext4"));

        let again = host.start(&vm).await.vm;
        assert_eq!(host.shell(&vm, "cat /kept").await.1, "written\n");
        let before = rungs(&host, &again).await.len();
        host.vms.kill(&vm).await.unwrap();
        assert_eq!(rungs(&host, &again).await[before..], [KILLED]);
        host.vms.delete(&vm, false).await.unwrap();
    });
}

/// A VMM that takes no signal but the last, and was never more than booting.
pub(crate) fn the_last_rungs() {
    block_on(async {
        let host = Host::with_fake_vmm("trap '' TERM; while :; do sleep 600; done").await;
        let vm = host.create("stubborn").await;
        let shown = host.vms.show(&vm).await.unwrap();
        let stopping = async {
            host.wait_until("it boots", async |host| {
                host.state(&vm).await == VmState::Starting
            })
            .await;
            host.vms.stop(&vm, GRACE).await.unwrap()
        };
        let starting = host.vms.start(&vm, Lifetime::Detached, &NoProgress);
        let (started, stopped) = tokio::join!(starting, stopping);
        started.unwrap_err();
        assert_eq!(stopped.exit, Some(VmExit::Forced));
        let rungs = rungs(&host, &shown).await;
        // it may be told to end before it could ignore that
        let expected = [TERMINATED, KILLED];
        assert_eq!(rungs, expected[..rungs.len().max(1)]);
    });
}

/// Waiting notices a machine that never came up, and a monitor that vanished.
pub(crate) fn a_failure_is_waited_for() {
    block_on(async {
        let host = Host::with_fake_vmm("exit 3").await;
        let vm = host.create("doomed").await;
        let starting = host.vms.start(&vm, Lifetime::Detached, &NoProgress);
        let (started, ended) = tokio::join!(starting, host.vms.wait(&vm, Some(PATIENCE)));
        started.unwrap_err();
        assert_eq!(ended.unwrap().state, VmState::Failed);
        let mut lost = host.vms.show(&vm).await.unwrap();
        lost.state = VmState::Running;
        host.store.update_vm(&lost).await.unwrap();
        let ended = host.vms.wait(&vm, Some(PATIENCE)).await.unwrap();
        assert_eq!(ended.exit, Some(VmExit::MonitorLost));
    });
}

/// CPUs and memory are those of the next boot, and a grown disk is whole.
pub(crate) fn a_changed_spec() {
    block_on(async {
        let host = Host::bootable().await;
        let vm = host.create("changed").await;
        let first = host.start(&vm).await.vm;
        let script = "echo kept > /kept; busybox sync";
        assert_eq!(host.shell(&vm, script).await.0, ExecExit::Code(0));
        let machine = SetVm {
            vcpus: Some(2),
            memory: Some(Bytes::from_mib(320)),
            labels: [("team".to_owned(), "blue".to_owned())].into(),
            ..SetVm::default()
        };
        let changed = host.vms.set(&vm, machine).await.unwrap();
        assert_eq!((changed.spec.vcpus, changed.state), (2, VmState::Running));
        assert!(first.generation < changed.generation);
        let disk = |mib| SetVm {
            disk_size: Some(Bytes::from_mib(mib)),
            removed_labels: ["team".to_owned()].into(),
            ..SetVm::default()
        };
        let refused = host.vms.set(&vm, disk(200)).await.unwrap_err();
        assert!(matches!(refused, SetVmError::Running { .. }), "{refused:?}");
        host.vms.stop(&vm, GRACE).await.unwrap();
        for (size, kind) in [(32, ErrorKind::InvalidInput), (1, ErrorKind::InvalidInput)] {
            let refused = host.vms.set(&vm, disk(size)).await.unwrap_err();
            assert_eq!(refused.kind(), kind, "{refused:?}");
        }
        let grown = host.vms.set(&vm, disk(200)).await.unwrap();
        assert!(grown.spec.labels.is_empty());
        let writable = host.directories.vm(first.id).join("writable.ext4");
        assert_eq!(writable.metadata().unwrap().len(), 200 << 20);
        check(&writable);
        host.start(&vm).await;
        let script =
            "cat /kept; busybox nproc; busybox df -m / | busybox tail -n 1; cat /proc/meminfo";
        let (_, output, stderr) = host.shell(&vm, script).await;
        let mut lines = output.lines();
        assert_eq!(lines.next(), Some("kept"), "{stderr}");
        assert_eq!(lines.next(), Some("2"), "{output}");
        let number = |line: Option<&str>, at: usize| -> u64 {
            line.unwrap()
                .split_whitespace()
                .nth(at)
                .unwrap()
                .parse()
                .unwrap()
        };
        assert!(150 < number(lines.next(), 1), "{output}");
        assert!(256 << 10 < number(lines.next(), 1), "{output}");
        host.vms.delete(&vm, true).await.unwrap();
    });
}
