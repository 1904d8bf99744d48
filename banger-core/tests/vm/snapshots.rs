//! VMs that are kept and gone on from: a Linux guest under QEMU, with all that
//! makes it the same machine and yet another one, and tiny guests under
//! Firecracker, for what goes wrong.

use std::{
    collections::BTreeMap,
    fs::{self, File, FileTimes},
    time::{Duration, UNIX_EPOCH},
};

use banger_core::{
    ErrorKind,
    clock::{Clock as _, SystemClock},
    domain::{
        BackendKind, BootMode, Bytes, NetworkMode, RootDiskMode, Selector, Snapshot, VmState,
    },
    progress::NoProgress,
    rootfs::format_empty,
    vm::{
        CreateVm, ExecExit, ExecRequest, GuestAddress, Lifetime, LocalVmSupervisor,
        RequestedSource, RestoreVm, RestoreVmError, SnapshotVmError, StartedVm, VmSupervisor,
        VolumeRequest, WhenDetached,
    },
    volume::{CreateVolume, LocalVolumeManager, VolumeManager as _},
};

use super::{
    fixture::{GRACE, Host, PATIENCE, block_on, given, request},
    tiny_guest,
};

/// Counts in a file for as long as the machine goes on.
const COUNT: &str = "n=0; while :; do n=$((n + 1)); echo $n > /count; sleep 0.1; done";

fn selector(snapshot: &Snapshot) -> Selector {
    Selector::from(snapshot.id.to_string().as_str())
}

fn named(name: &str) -> RestoreVm {
    RestoreVm {
        name: Some(name.parse().unwrap()),
        ..RestoreVm::default()
    }
}

async fn restored(
    vms: &LocalVmSupervisor,
    snapshot: &Snapshot,
    name: &str,
) -> Result<StartedVm, RestoreVmError> {
    vms.restore(
        &selector(snapshot),
        named(name),
        Lifetime::Detached,
        &NoProgress,
    )
    .await
}

async fn count(host: &Host, vm: &Selector) -> u64 {
    let read = "while ! read n < /count || [ -z \"$n\" ]; do sleep 0.05; done; echo $n";
    host.shell(vm, read).await.1.trim().parse().unwrap()
}

pub(crate) fn a_linux_guest_goes_on_twice() {
    block_on(async {
        let host = Host::bootable().await;
        let wanted = CreateVm {
            network: NetworkMode::User,
            labels: [("kept".to_owned(), "yes".to_owned())].into(),
            ..request("first")
        };
        host.make(wanted).await;
        let first = Selector::from("first");
        let booted = host.start(&first).await.vm;
        let counting = ExecRequest {
            argv: ["sh", "-c", COUNT].map(str::to_owned).to_vec(),
            when_detached: WhenDetached::Keep,
            ..ExecRequest::default()
        };
        drop(host.vms.exec(&first, counting).await.unwrap());
        host.shell(&first, "echo before > /before").await;
        let counted = count(&host, &first).await;
        let snapshot = host.vms.snapshot(&first).await.unwrap();
        assert_eq!(snapshot.backend, BackendKind::Qemu);
        assert!(Bytes::from_mib(16) < snapshot.size_on_disk, "{snapshot:?}");
        // it is as it was
        assert_eq!(host.state(&first).await, VmState::Running);
        host.shell(&first, "echo after > /after").await;
        host.wait_until("its process goes on", async |host| {
            counted < count(host, &first).await
        })
        .await;
        // its machine may be gone when others go on
        let killed = host.vms.kill(&first).await.unwrap();
        let deleted = host.vms.delete(&first, false).await.unwrap();
        assert_eq!(killed.id, deleted.id);
        let mut drawn = Vec::new();
        for name in ["one", "two"] {
            drawn.push(goes_on(&host, &snapshot, name).await);
        }
        assert_ne!(drawn[0], drawn[1], "their random numbers are their own");
        // the snapshot is not needed any more
        host.vms
            .delete_snapshot(&selector(&snapshot))
            .await
            .unwrap();
        let one = Selector::from("one");
        assert_eq!(host.shell(&one, "cat /mine").await.1, "one\n");
        host.vms.stop(&one, GRACE).await.unwrap();
        let again = host.start(&one).await.vm;
        assert_ne!(again.boot_id, booted.boot_id, "now it booted");
        assert_eq!(
            host.shell(&one, "cat /before /mine").await.1,
            "before\none\n"
        );
        for name in ["one", "two"] {
            let deleted = host.vms.delete(&name.into(), true).await.unwrap();
            assert!(!host.directories.vm(deleted.id).exists());
        }
        host.assert_empty().await;
        assert_eq!(host.vms.list_snapshots().await.unwrap(), []);
        let left = host.directories.snapshots().read_dir_utf8().unwrap();
        assert_eq!(left.count(), 0);
    });
}

/// Has a VM go on and looks whether it is what was kept; answers a random
/// number that it draws.
async fn goes_on(host: &Host, snapshot: &Snapshot, name: &str) -> String {
    let started = restored(&host.vms, snapshot, name).await.unwrap().vm;
    assert_eq!(started.boot_id, snapshot.vm.boot_id, "it did not boot");
    assert_eq!(started.spec.labels, snapshot.vm.spec.labels);
    let vm = Selector::from(name);
    let counted = count(host, &vm).await;
    host.wait_until("its process goes on", async |host| {
        counted < count(host, &vm).await
    })
    .await;
    let files = host.shell(&vm, "cat /before; cat /after").await.1;
    assert_eq!(files, "before\n", "{name}");
    host.shell(&vm, &format!("echo {name} > /mine")).await;
    let drawing = "busybox head -c 16 /dev/urandom | sha256sum; busybox date +%s";
    let told = host.shell(&vm, drawing).await.1;
    let (number, time) = told.trim().split_once('\n').unwrap();
    let time = UNIX_EPOCH + Duration::from_secs(time.parse().unwrap());
    let late = SystemClock.now().duration_since(time).unwrap_or_default();
    assert!(late < Duration::from_secs(30), "its clock is {late:?} late");
    number.to_owned()
}

/// The command that a machine exists for goes on with it, and so do its output
/// and its end.
pub(crate) fn a_command_goes_on() {
    block_on(async {
        let host = Host::bootable().await;
        let script = "echo begun; while ! [ -e /end ]; do sleep 0.1; done; echo ended; exit 7";
        let mut wanted = request("worker");
        wanted.boot_mode = BootMode::Entrypoint;
        wanted.process.argv = ["sh", "-c", script].map(str::to_owned).to_vec();
        host.make(wanted).await;
        let worker = Selector::from("worker");
        host.start(&worker).await;
        host.wait_until("it began", async |host| {
            host.console(&worker).await.contains("begun")
        })
        .await;
        let snapshot = host.vms.snapshot(&worker).await.unwrap();
        restored(&host.vms, &snapshot, "other").await.unwrap();
        for name in ["worker", "other"] {
            let vm = Selector::from(name);
            let told = host.shell(&vm, "echo > /end").await;
            assert_eq!(told.0, ExecExit::Code(0));
            let ended = host.vms.wait(&vm, Some(PATIENCE)).await.unwrap();
            assert_eq!(ended.state, VmState::Stopped, "{name}: {}", ended.reason);
            assert!(
                ended.reason.contains("status 7"),
                "{name}: {}",
                ended.reason
            );
            assert!(host.console(&vm).await.contains("ended"), "{name}");
        }
        // what it only reads must be what it was
        let base = host.root().join("rootfs.ext4");
        let file = File::options().write(true).open(&base).unwrap();
        let later = SystemClock.now() + Duration::from_secs(1);
        file.set_times(FileTimes::new().set_modified(later))
            .unwrap();
        let refused = restored(&host.vms, &snapshot, "late").await.unwrap_err();
        let RestoreVmError::DiskChanged { path, .. } = &refused else {
            panic!("{refused:?}");
        };
        assert_eq!(*path, base);
        assert_eq!(refused.kind(), ErrorKind::Conflict);
    });
}

/// A host whose one image is a tiny guest, and a supervisor of Firecracker's.
async fn tiny() -> (Host, LocalVmSupervisor) {
    let host = Host::with_fake_vmm("exit 1").await;
    let image = host.root().join("file");
    fs::remove_file(&image).unwrap();
    format_empty(&image, Bytes::from_mib(16), [7; 16]).unwrap();
    let kernel = host.root().join("kernel");
    fs::write(&kernel, tiny_guest::counter()).unwrap();
    host.replace_kernel(kernel).await;
    let program = given("BANGER_TESTBED").join("firecracker/firecracker");
    let vms = host.supervisor(PATIENCE, |options| options.vmm.firecracker = Some(program));
    (host, vms)
}

fn tiny_request(name: &str) -> CreateVm {
    CreateVm {
        boot_mode: BootMode::Native,
        root_disk: RootDiskMode::Clone,
        disk_size: Bytes::from_mib(16),
        backend: Some(BackendKind::Firecracker),
        ..request(name)
    }
}

async fn started(vms: &LocalVmSupervisor, wanted: CreateVm) -> Selector {
    let created = vms.create(wanted, Lifetime::Detached, &NoProgress).await;
    let vm = Selector::from(created.unwrap().vm.id.to_string().as_str());
    vms.start(&vm, Lifetime::Detached, &NoProgress)
        .await
        .unwrap();
    vm
}

/// The numbers that a tiny guest has told so far.
async fn numbers(host: &Host, vm: &Selector) -> Vec<u64> {
    let console = host.console(vm).await;
    let number = |line: &str| u64::from_str_radix(line.trim(), 16).ok();
    console.lines().filter_map(number).collect()
}

pub(crate) fn firecracker_goes_on() {
    block_on(async {
        let (host, vms) = tiny().await;
        let vm = started(&vms, tiny_request("counts")).await;
        host.wait_until("it counts", async |host| 3 < numbers(host, &vm).await.len())
            .await;
        vms.pause(&vm).await.unwrap();
        let snapshot = vms.snapshot(&vm).await.unwrap();
        assert_eq!(host.state(&vm).await, VmState::Paused, "as it was");
        let kept = *numbers(&host, &vm).await.iter().max().unwrap();
        let other = restored(&vms, &snapshot, "goes-on").await.unwrap().vm;
        assert_eq!(other.state, VmState::Running);
        assert!(other.reason.contains(&snapshot.id.to_string()));
        let other = Selector::from("goes-on");
        host.wait_until("it goes on", async |host| {
            3 < numbers(host, &other).await.len()
        })
        .await;
        let first = *numbers(&host, &other).await.iter().min().unwrap();
        assert!(kept <= first && first <= kept + 2, "{kept} {first}");
        // the image is needed as long as the snapshot is there
        for name in [&vm, &other] {
            vms.delete(name, true).await.unwrap();
        }
        let image = host.store.images().await.unwrap().remove(0);
        let users = host.store.snapshots_of_image(image.id).await.unwrap();
        assert_eq!(users, [snapshot.id]);
        host.store.delete_image(image.id).await.unwrap_err();
        // any part of the id is enough
        let part = snapshot.id.to_string()[24..].to_owned();
        vms.delete_snapshot(&part.as_str().into()).await.unwrap();
        host.assert_empty().await;
        host.store.delete_image(image.id).await.unwrap();
    });
}

pub(crate) fn firecracker_is_not_kept() {
    block_on(async {
        let (host, vms) = tiny().await;
        let vm = started(&vms, writing_to_a_volume(&host).await).await;
        let refused = vms.snapshot(&vm).await.unwrap_err();
        assert!(
            matches!(refused, SnapshotVmError::SharedVolume { .. }),
            "{refused:?}"
        );
        // nor is there anybody in it to speak to
        let refused = vms.stat_path(&vm, b"/", true).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported);
        let address = GuestAddress {
            host: None,
            port: 80.try_into().unwrap(),
        };
        let refused = vms.connect(&vm, address).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported);
        vms.stop(&vm, Duration::ZERO).await.unwrap();
        let refused = vms.snapshot(&vm).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Conflict);
        let unknown = vms.show_snapshot(&"0123".into()).await.unwrap_err();
        assert_eq!(unknown.kind(), ErrorKind::NotFound);
        vms.delete(&vm, false).await.unwrap();
        host.assert_empty().await;
    });
}

async fn writing_to_a_volume(host: &Host) -> CreateVm {
    let volumes = LocalVolumeManager::new(
        host.store.clone(),
        host.directories.clone(),
        std::sync::Arc::new(SystemClock),
    );
    let volume = CreateVolume {
        name: "data".parse().unwrap(),
        size: Bytes::from_mib(16),
        labels: BTreeMap::new(),
    };
    CreateVm {
        volumes: vec![VolumeRequest {
            source: RequestedSource::Named(volumes.create(volume).await.unwrap().name),
            target: "/data".to_owned(),
            read_only: false,
        }],
        ..tiny_request("writes")
    }
}

/// A snapshot that is damaged leaves no VM; what crashes leave goes, and
/// nothing else.
pub(crate) fn firecrackers_leftovers() {
    block_on(async {
        let (host, vms) = tiny().await;
        let vm = started(&vms, tiny_request("kept")).await;
        let snapshot = vms.snapshot(&vm).await.unwrap();
        let directory = host.directories.snapshot(snapshot.id);
        let state = directory.join("firecracker.state");
        fs::rename(&state, directory.join("away")).unwrap();
        let refused = restored(&vms, &snapshot, "broken").await.unwrap_err();
        assert!(matches!(refused, RestoreVmError::Start(_)), "{refused:?}");
        fs::write(directory.join("machine.json"), "{}").unwrap();
        let refused = restored(&vms, &snapshot, "broken").await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported);
        let left = vms.list().await.unwrap();
        assert_eq!(left.len(), 1, "{left:?}");
        let snapshots = host.directories.snapshots();
        let unfinished = snapshots.join(format!("{}.staging", snapshot.id));
        let orphan = snapshots.join("0192d0b4-0000-7000-8000-000000000000");
        for path in [&unfinished, &orphan] {
            fs::create_dir(path).unwrap();
            fs::write(path.join("file"), "").unwrap();
        }
        vms.reconcile().await.unwrap();
        assert!(!unfinished.exists() && !orphan.exists() && directory.exists());
        vms.delete(&vm, true).await.unwrap();
        vms.delete_snapshot(&selector(&snapshot)).await.unwrap();
        assert!(!directory.exists());
        host.assert_empty().await;
    });
}
