//! What every Linux guest does under QEMU, whatever its image: one list, run
//! with an image of busybox, with a Debian whose init is systemd, and with one
//! static program alone. (`vmm::contract` has the same for the backends, with
//! guests of a few instructions.)

use std::time::Duration;

use banger_core::{
    domain::{BootMode, Bytes, RunConfig, Selector, Snapshot, VmExit, VmState},
    progress::NoProgress,
    vm::{CreateVm, ExecRequest, Lifetime, RestoreVm, VmSupervisor as _, WhenDetached},
};
use rustix::process::Signal;

use super::{
    crash::send,
    fixture::{Host, PATIENCE, block_on, request},
    images,
};

/// Says so, again and again.
const TICKING: &str = "while :; do echo tick > /dev/console; SLEEP 0.1; done";

/// A guest, and how it is spoken to.
struct Guest {
    host: Host,
    request: CreateVm,
    /// What runs a script.
    shell: &'static [&'static str],
    sleep: &'static str,
    /// A script by which it ends its machine.
    power_off: &'static str,
}

pub(crate) fn of_busybox() {
    block_on(async {
        let guest = Guest {
            host: Host::bootable().await,
            request: request("vm"),
            shell: &["sh", "-c"],
            sleep: "sleep",
            power_off: "poweroff -f",
        };
        guest.keeps_the_contract().await;
    });
}

pub(crate) fn of_systemd() {
    block_on(async {
        let host = Host::bootable().await;
        images::add_systemd(&host, "debian").await;
        let guest = Guest {
            host,
            request: CreateVm {
                image: Selector::from("debian"),
                boot_mode: BootMode::Init,
                memory: Bytes::from_mib(512),
                ..request("vm")
            },
            shell: &["sh", "-c"],
            sleep: "sleep",
            power_off: "systemctl poweroff",
        };
        guest.keeps_the_contract().await;
    });
}

pub(crate) fn of_one_program() {
    block_on(async {
        let host = Host::bootable().await;
        images::add_scratch(&host, "scratch", RunConfig::default()).await;
        let guest = Guest {
            host,
            request: CreateVm {
                image: Selector::from("scratch"),
                ..request("vm")
            },
            shell: &["/busybox", "sh", "-c"],
            sleep: "/busybox sleep",
            power_off: "/busybox poweroff -f",
        };
        guest.keeps_the_contract().await;
    });
}

impl Guest {
    async fn keeps_the_contract(self) {
        let vm = Selector::from("vm");
        self.host.make(self.request.clone()).await;
        let started = self.host.start(&vm).await.vm;
        assert_eq!(started.state, VmState::Running);
        self.run(&vm, &TICKING.replace("SLEEP", self.sleep)).await;
        self.is_heard(&vm).await;
        self.pauses(&vm).await;
        let snapshot = self.host.vms.snapshot(&vm).await.unwrap();
        self.is_heard(&vm).await;
        self.loses_its_vmm(&vm).await;
        self.powers_off(&snapshot).await;
        self.is_killed(&snapshot).await;
        for name in ["vm", "leaves", "killed"] {
            self.host.vms.delete(&name.into(), false).await.unwrap();
        }
        self.host.assert_empty().await;
    }

    async fn pauses(&self, vm: &Selector) {
        let paused = self.host.vms.pause(vm).await.unwrap();
        assert_eq!(paused.state, VmState::Paused);
        // what was under way comes to its end
        self.host
            .wait_until("it falls silent", async |_| {
                let heard = self.ticks(vm).await;
                tokio::time::sleep(Duration::from_millis(300)).await;
                heard == self.ticks(vm).await
            })
            .await;
        let resumed = self.host.vms.resume(vm).await.unwrap();
        assert_eq!(resumed.state, VmState::Running);
        self.is_heard(vm).await;
    }

    async fn loses_its_vmm(&self, vm: &Selector) {
        let is_vmm = |id: &i32| {
            let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            line.starts_with(b"/usr/bin/qemu")
        };
        let mut processes = self.host.processes();
        processes.retain(is_vmm);
        let [vmm] = processes[..] else {
            panic!("one VMM: {processes:?}");
        };
        send(vmm, Signal::KILL);
        let ended = self.host.vms.wait(vm, Some(PATIENCE)).await.unwrap();
        assert_eq!(ended.state, VmState::Failed);
        let exit = ended.exit.unwrap();
        assert!(
            matches!(&exit, VmExit::VmmDied(how) if how.contains("SIGKILL")),
            "{exit:?}"
        );
    }

    async fn powers_off(&self, snapshot: &Snapshot) {
        let vm = self.restored(snapshot, "leaves").await;
        self.run(&vm, self.power_off).await;
        let ended = self.host.vms.wait(&vm, Some(PATIENCE)).await.unwrap();
        assert_eq!(ended.exit, Some(VmExit::PoweredOff), "{}", ended.reason);
    }

    async fn is_killed(&self, snapshot: &Snapshot) {
        let vm = self.restored(snapshot, "killed").await;
        let killed = self.host.vms.kill(&vm).await.unwrap();
        assert_eq!(
            (killed.state, killed.exit),
            (VmState::Stopped, Some(VmExit::Forced))
        );
    }

    /// A VM that goes on: what ran in it still does.
    async fn restored(&self, snapshot: &Snapshot, name: &str) -> Selector {
        let id = Selector::from(snapshot.id.to_string().as_str());
        let wanted = RestoreVm {
            name: Some(name.parse().unwrap()),
            ..RestoreVm::default()
        };
        let restoring = self
            .host
            .vms
            .restore(&id, wanted, Lifetime::Detached, &NoProgress);
        restoring.await.unwrap();
        let vm = Selector::from(name);
        self.is_heard(&vm).await;
        vm
    }

    /// Runs a script and leaves it.
    async fn run(&self, vm: &Selector, script: &str) {
        let argv = self.shell.iter().copied().chain([script]);
        let request = ExecRequest {
            argv: argv.map(str::to_owned).collect(),
            when_detached: WhenDetached::Keep,
            ..ExecRequest::default()
        };
        drop(self.host.vms.exec(vm, request).await.unwrap());
    }

    async fn is_heard(&self, vm: &Selector) {
        let before = self.ticks(vm).await;
        self.host
            .wait_until("its console is heard", async |_| {
                before + 2 < self.ticks(vm).await
            })
            .await;
    }

    async fn ticks(&self, vm: &Selector) -> usize {
        self.host.console(vm).await.matches("tick").count()
    }
}
