//! What is left when somebody is killed, and what becomes of it.

use std::fs;

use banger_core::{
    ErrorKind,
    domain::{VmExit, VmId, VmState},
    host_fs::copy_file,
    process::command,
    progress::NoProgress,
    vm::{CreatedVm, ExecExit, Lifetime, VmSupervisor as _},
};
use camino::Utf8Path;
use rustix::process::{Pid, Signal, kill_process};

use super::fixture::{GRACE, Host, block_on, request};

pub(crate) fn a_killed_monitor() {
    block_on(async {
        let host = Host::bootable().await;
        let vm = host.create("orphan").await;
        let started = host.start(&vm).await.vm;
        let monitors = monitors(&host);
        let [monitor] = monitors.as_slice() else {
            panic!("one monitor, not {monitors:?}");
        };
        assert_eq!(host.processes().len(), 2, "a monitor and its VMM");
        send(*monitor, Signal::KILL);
        host.wait_until("the VMM died with its monitor", async |host| {
            host.processes().is_empty()
        })
        .await;
        // the record is only repaired by somebody who looks
        let stored = host.store.vm(started.id).await.unwrap().unwrap();
        assert_eq!(stored.state, VmState::Running);
        assert!(host.directories.vm_runtime(started.id).exists());
        // a process has no command line some moments before it lets go of locks
        host.wait_until("it is repaired", async |host| {
            host.vms.reconcile().await.unwrap();
            let repaired = host.store.vm(started.id).await.unwrap().unwrap();
            repaired.state == VmState::Failed && repaired.exit == Some(VmExit::MonitorLost)
        })
        .await;
        assert!(!host.directories.vm_runtime(started.id).exists());
        host.start(&vm).await;
        send(self::monitors(&host)[0], Signal::KILL);
        host.wait_until("looking is enough", async |host| {
            host.state(&vm).await == VmState::Failed
        })
        .await;
        let deleted = host.vms.delete(&vm, false).await.unwrap();
        host.assert_nothing_left(&deleted).await;
    });
}

pub(crate) fn a_killed_client() {
    block_on(async {
        let host = Host::bootable().await;
        let vm = host.create("abandoned").await;
        let this = std::env::current_exe().unwrap();
        let mut client = command(this);
        client.args(["__start", host.root().as_str(), "abandoned"]);
        let mut client = client.spawn().unwrap();
        host.wait_until("it boots", async |host| {
            host.state(&vm).await == VmState::Starting
        })
        .await;
        client.kill().await.unwrap();
        host.wait_until("it runs", async |host| {
            host.state(&vm).await == VmState::Running
        })
        .await;
        // what a terminal sends when it closes ends no VM
        let [monitor] = monitors(&host)[..] else {
            panic!("one monitor");
        };
        send(monitor, Signal::HUP);
        send(monitor, Signal::INT);
        assert_eq!(host.shell(&vm, "echo alive").await.1, "alive\n");
        send(monitor, Signal::TERM);
        host.wait_until("it stopped in order", async |host| {
            host.state(&vm).await == VmState::Stopped
        })
        .await;
        let stopped = host.vms.stop(&vm, GRACE).await.unwrap();
        assert_eq!(stopped.exit, Some(VmExit::PoweredOff));
        let deleted = host.vms.delete(&vm, false).await.unwrap();
        host.assert_nothing_left(&deleted).await;
    });
}

/// The guest writes to a disk that was made of an image, content and all.
pub(crate) fn a_killed_guests_journal() {
    block_on(async {
        let host = Host::bootable().await;
        let vm = host.create("cut-off").await;
        let disk = host.directories.vm(host.vms.show(&vm).await.unwrap().id);
        let disk = disk.join("writable.ext4");
        fs::remove_file(&disk).unwrap();
        copy_file(&host.root().join("rootfs.ext4"), &disk).unwrap();
        host.start(&vm).await;
        let write = "for n in 1 2 3 4 5 6 7 8 9; do echo line $n >> /log; busybox sync; done";
        assert_eq!(host.shell(&vm, write).await.0, ExecExit::Code(0));
        let monitors = monitors(&host);
        let processes = host.processes().into_iter();
        let [vmm] = processes
            .filter(|id| !monitors.contains(id))
            .collect::<Vec<_>>()[..]
        else {
            panic!("one VMM");
        };
        send(vmm, Signal::KILL);
        host.wait_until("the end is noticed", async |host| {
            host.state(&vm).await == VmState::Failed
        })
        .await;
        let header = tool("dumpe2fs", &["-h", disk.as_str()]).await;
        assert!(header.contains("needs_recovery"), "{header}");
        host.start(&vm).await;
        let log = host.shell(&vm, "cat /log").await.1;
        assert_eq!(log.lines().count(), 9, "{log}");
        host.vms.stop(&vm, GRACE).await.unwrap();
        tool("e2fsck", &["-fn", disk.as_str()]).await;
    });
}

/// What a program that must succeed prints.
async fn tool(program: &str, arguments: &[&str]) -> String {
    let output = command(program).args(arguments).output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program}: {text}");
    text
}

pub(crate) fn leftovers() {
    block_on(async {
        let host = Host::with_fake_vmm("exit 1").await;
        let kept = host.create("kept").await;
        let kept_id = host.vms.show(&kept).await.unwrap().id;
        let mut crashed = Vec::new();
        for (name, state) in [
            ("creating", VmState::Creating),
            ("deleting", VmState::Deleting),
            ("starting", VmState::Starting),
        ] {
            let vm = host.create(name).await;
            let mut vm = host.vms.show(&vm).await.unwrap();
            vm.state = state;
            crashed.push(host.store.update_vm(&vm).await.unwrap());
        }
        let orphan = VmId::generate();
        let directories = [
            host.directories.vm(orphan),
            host.directories.vm_runtime(orphan),
        ];
        let foreign = [
            host.directories.vms().join("notes"),
            host.directories.runtime.join("other"),
        ];
        for path in directories.iter().chain(&foreign) {
            fs::create_dir_all(path).unwrap();
        }
        host.vms.reconcile().await.unwrap();
        assert!(directories.iter().all(|path| !path.exists()));
        assert!(foreign.iter().all(|path| path.exists()));
        assert!(host.directories.vm(kept_id).join("writable.ext4").exists());
        let states = host.vms.list().await.unwrap();
        let states: Vec<_> = states
            .iter()
            .map(|vm| (vm.name.as_str(), vm.state))
            .collect();
        assert_eq!(
            states,
            [("kept", VmState::Created), ("starting", VmState::Failed)]
        );
        assert!(!host.directories.vm(crashed[0].id).exists());
        assert!(!host.directories.vm(crashed[1].id).exists());
    });
}

pub(crate) fn deserted_vms() {
    block_on(async {
        let host = Host::with_fake_vmm("exit 1").await;
        let bound = async |name| {
            let lifetime = Lifetime::BoundToCaller;
            let created = host.vms.create(request(name), lifetime, &NoProgress).await;
            created.unwrap()
        };
        let CreatedVm { vm, lifeline } = bound("deserted").await;
        host.vms.reconcile().await.unwrap();
        assert_eq!(host.state(&"deserted".into()).await, VmState::Created);
        drop(lifeline);
        let gone = host.vms.show(&"deserted".into()).await.unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::NotFound, "looking is enough");
        host.assert_nothing_left(&vm).await;
        // once it was started it is an ordinary VM
        let tried = bound("tried").await;
        let name = "tried".into();
        let start = host.vms.start(&name, Lifetime::Detached, &NoProgress);
        start.await.unwrap_err();
        drop(tried);
        host.vms.reconcile().await.unwrap();
        assert_eq!(host.state(&name).await, VmState::Failed);
    });
}

pub(crate) fn cancelled_create() {
    block_on(async {
        let host = Host::with_fake_vmm("exit 1").await;
        let mut creating = Box::pin(host.vms.create(
            request("cancelled"),
            Lifetime::Detached,
            &NoProgress,
        ));
        // far enough for a record to exist, then given up
        tokio::select! {
            _ = &mut creating => {}
            () = host.wait_until("the record exists", async |host| {
                !host.store.vms().await.unwrap().is_empty()
            }) => {}
        }
        drop(creating);
        host.wait_until("everything is settled", async |host| {
            let vms = host.store.vms().await.unwrap();
            vms.iter().all(|vm| vm.state == VmState::Created)
        })
        .await;
        // either it was made whole before it was given up, or nothing is left
        let records = host.store.vms().await.unwrap().len();
        let directories = fs::read_dir(host.directories.vms()).unwrap().count();
        assert_eq!(records, directories);
    });
}

pub(crate) fn send(process: i32, signal: Signal) {
    kill_process(Pid::from_raw(process).unwrap(), signal).unwrap();
}

/// The processes that were started as monitors.
fn monitors(host: &Host) -> Vec<i32> {
    let is_monitor = |id: &i32| {
        let line = fs::read(Utf8Path::new("/proc").join(id.to_string()).join("cmdline"));
        line.is_ok_and(|line| String::from_utf8_lossy(&line).contains("__monitor"))
    };
    host.processes().into_iter().filter(is_monitor).collect()
}
