//! Disks beside the root: named, in files, copied from directories.

use std::{collections::BTreeMap, fs, sync::Arc};

use banger_core::{
    ErrorKind,
    clock::SystemClock,
    domain::{Bytes, RootDiskMode, Selector, VmState},
    progress::NoProgress,
    vm::{
        BootFailure, CreateVm, ExecExit, Lifetime, RequestedSource, SetVm, StartVmError,
        VmSupervisor as _, VolumeRequest,
    },
    volume::{CreateVolume, LocalVolumeManager, VolumeManager as _},
};
use camino::Utf8Path;

use super::fixture::{GRACE, Host, block_on, request};

fn volumes(host: &Host) -> LocalVolumeManager {
    let clock = Arc::new(SystemClock);
    LocalVolumeManager::new(host.store.clone(), host.directories.clone(), clock)
}

fn named(name: &str, read_only: bool) -> VolumeRequest {
    VolumeRequest {
        source: RequestedSource::Named(name.parse().unwrap()),
        target: "/srv/data".to_owned(),
        read_only,
    }
}

fn path(path: &Utf8Path, target: &str, read_only: bool) -> VolumeRequest {
    VolumeRequest {
        source: RequestedSource::Path(path.to_owned()),
        target: target.to_owned(),
        read_only,
    }
}

fn with(name: &str, volumes: Vec<VolumeRequest>) -> CreateVm {
    CreateVm {
        volumes,
        ..request(name)
    }
}

async fn make(host: &Host, name: &str, volumes: Vec<VolumeRequest>) -> Selector {
    host.make(with(name, volumes)).await;
    Selector::from(name)
}

/// One writes, several read, and what was written outlives its writer.
pub(crate) fn named_volumes() {
    block_on(async {
        let host = Host::bootable().await;
        let missing = host
            .refused(with("early", vec![named("data", false)]))
            .await;
        assert_eq!(missing.kind(), ErrorKind::NotFound, "{missing:?}");
        let manager = volumes(&host);
        let request = CreateVolume {
            name: "data".parse().unwrap(),
            size: Bytes::from_mib(32),
            labels: BTreeMap::new(),
        };
        let volume = manager.create(request).await.unwrap();
        let writer = make(&host, "writer", vec![named("data", false)]).await;
        let reader = make(&host, "reader", vec![named("data", true)]).await;
        let other = make(&host, "other", vec![named("data", true)]).await;
        host.start(&writer).await;
        let script = "echo kept > /srv/data/file; cat /proc/mounts";
        let (exit, mounts, complaint) = host.shell(&writer, script).await;
        assert_eq!(exit, ExecExit::Code(0), "{complaint}");
        assert!(mounts.contains(" /srv/data ext4 rw"), "{mounts}");
        let started = host
            .vms
            .start(&reader, Lifetime::Detached, &NoProgress)
            .await;
        let refused = started.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Conflict);
        let StartVmError::BootFailed { failure, cause, .. } = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(failure, BootFailure::VolumeInUse);
        assert_eq!(cause, "volume data is written by another VM");
        host.vms.stop(&writer, GRACE).await.unwrap();

        host.start(&reader).await;
        host.start(&other).await;
        for vm in [&reader, &other] {
            let script = "cat /srv/data/file; echo no > /srv/data/file";
            let (exit, content, _) = host.shell(vm, script).await;
            assert_eq!((exit, content.as_str()), (ExecExit::Code(1), "kept\n"));
        }
        let started = host
            .vms
            .start(&writer, Lifetime::Detached, &NoProgress)
            .await;
        assert_eq!(started.unwrap_err().kind(), ErrorKind::Conflict);
        assert_eq!(host.state(&writer).await, VmState::Failed);
        let in_use = manager.delete(&volume.name).await.unwrap_err();
        assert_eq!(in_use.kind(), ErrorKind::Conflict);
        let shown = manager.show(&volume.name).await.unwrap();
        assert_eq!(shown.users.len(), 3);
        for vm in [writer, reader, other] {
            host.vms.delete(&vm, true).await.unwrap();
        }
        manager.delete(&volume.name).await.unwrap();
        assert!(!host.directories.volume_disk(&volume.name).exists());
    });
}

/// A directory is copied, a disk is shared, and both stay as they are.
pub(crate) fn directories_and_disks() {
    block_on(async {
        let host = Host::bootable().await;
        let directory = host.root().join("tree");
        fs::create_dir_all(directory.join("deep")).unwrap();
        fs::write(directory.join("deep/file"), "from the host\n").unwrap();
        let disk = host.root().join("rootfs.ext4");
        let raw = host.root().join("raw.img");
        fs::write(&raw, [b"raw bytes\n".to_vec(), vec![0; 1 << 20]].concat()).unwrap();
        let before = fs::read(&disk).unwrap();
        let unsafe_disk = with("unsafe", vec![path(&disk, "/mnt", false)]);
        assert_eq!(
            host.refused(unsafe_disk).await.kind(),
            ErrorKind::InvalidInput
        );
        let wanted = vec![
            path(&directory, "/srv/tree", false),
            path(&disk, "/mnt/shared", true),
            path(&raw, "/dev/raw", true),
        ];
        let vm = make(&host, "rich", wanted).await;
        fs::write(directory.join("deep/file"), "changed later\n").unwrap();
        host.start(&vm).await;
        let script = "cat /srv/tree/deep/file; echo mine > /srv/tree/deep/file; \
            cat /mnt/shared/etc/passwd | busybox head -n 1; echo x > /mnt/shared/x; \
            busybox head -c 10 /dev/raw";
        let (_, output, complaint) = host.shell(&vm, script).await;
        let expected = "from the host\nroot:x:0:0::/root:/bin/sh\nraw bytes\n";
        assert_eq!(output, expected, "{complaint}");
        assert!(complaint.contains("Read-only file system"), "{complaint}");
        host.vms.stop(&vm, GRACE).await.unwrap();
        // the copy is the VM's own and outlives its boots
        host.start(&vm).await;
        let script = "cat /srv/tree/deep/file";
        assert_eq!(host.shell(&vm, script).await.1, "mine\n");
        let deleted = host.vms.delete(&vm, true).await.unwrap();
        host.assert_nothing_left(&deleted).await;
        assert!(fs::read(&disk).unwrap() == before, "the disk was changed");
        let kept = fs::read_to_string(directory.join("deep/file")).unwrap();
        assert_eq!(kept, "changed later\n");
    });
}

/// A copy of the image's disk grows like any other, and the guest sees it.
pub(crate) fn a_copy_grows() {
    block_on(async {
        let host = Host::bootable().await;
        let wanted = CreateVm {
            root_disk: RootDiskMode::Clone,
            ..request("grown")
        };
        let made = host.make(wanted).await;
        assert!(made.reason.contains("its disk"), "{}", made.reason);
        let vm = Selector::from("grown");
        let grow = SetVm {
            disk_size: Some(Bytes::from_mib(200)),
            ..SetVm::default()
        };
        host.vms.set(&vm, grow).await.unwrap();
        host.start(&vm).await;
        let script = "busybox df -m / | busybox tail -n 1";
        let (_, line, complaint) = host.shell(&vm, script).await;
        let size: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        assert!(150 < size, "{line} {complaint}");
        host.vms.delete(&vm, true).await.unwrap();
    });
}

/// A disk that is gone, and one that cannot be mounted, fail the boot by name.
pub(crate) fn volumes_that_fail() {
    block_on(async {
        let host = Host::bootable().await;
        let disk = host.root().join("data.ext4");
        let mut damaged = vec![0; 1 << 20];
        damaged[0x438] = 0x53;
        damaged[0x439] = 0xef;
        fs::write(&disk, damaged).unwrap();
        let vm = make(&host, "poor", vec![path(&disk, "/data", true)]).await;
        let started = host.vms.start(&vm, Lifetime::Detached, &NoProgress).await;
        let StartVmError::BootFailed { failure, stage, .. } = started.unwrap_err() else {
            panic!("it booted otherwise");
        };
        assert_eq!((failure, stage.as_str()), (BootFailure::Volume, "volumes"));
        fs::remove_file(&disk).unwrap();
        let started = host.vms.start(&vm, Lifetime::Detached, &NoProgress).await;
        assert_eq!(started.unwrap_err().kind(), ErrorKind::NotFound);
        let deleted = host.vms.delete(&vm, false).await.unwrap();
        host.assert_nothing_left(&deleted).await;
    });
}
