//! A Linux guest that is kept and restored, spoken to again.

use std::{fs, sync::Arc};

use banger_proto::guest::v1::{BootConfig, PlainRoot, RootDisk, root_disk::Layout};
use camino::{Utf8Path, Utf8PathBuf};
use prost::Message as _;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    clock::SystemClock,
    directories::Directories,
    domain::{BackendChoice, BackendKind, BootArtifacts, Bytes, Digest},
    initrd::{InitrdRequest, boot_config_archive, build},
    kernel::{KernelResolver as _, KernelSource, LocalKernelResolver},
    oci::{Compression, LayerBlob, LayerBytes, LayerDescriptor},
    progress::NoProgress,
    rootfs::{Ext4RootfsBuilder, RootfsBuilder as _, RootfsRequest},
    store::Store,
    vmm::{
        Acceleration, ChosenBackend, Disk, GuestView, Machine, Spawned, VmmProcess, VmmRequest,
        time_stamp_khz,
    },
};

/// How long a test waits for anything at all.
const PATIENCE: Duration = Duration::from_mins(2);
const PORT: &str = "banger.agent";
const ROOT: &str = "root";
const MODULES: [&str; 5] = [
    "virtio_mmio",
    "virtio_blk",
    "virtio_console",
    "virtio_rng",
    "ext4",
];

#[tokio::test]
async fn a_restored_linux_guest_answers_on_a_new_channel() {
    let scratch = tempfile::tempdir().unwrap();
    let root = Utf8PathBuf::try_from(scratch.path().to_owned()).unwrap();
    let machine = machine(&root).await;
    let tracker = TaskTracker::new();
    let (mut vmm, mut channel) =
        launched(&machine, &directory(&root, "first"), None, &tracker).await;
    let stream = channel.open().await.unwrap();
    let booted = greet(stream, &tracker, &SystemClock);
    let booted = timeout(PATIENCE, booted).await.unwrap().unwrap();
    let snapshot = directory(&root, "snapshot");
    vmm.pause().await.unwrap();
    vmm.snapshot(&snapshot).await.unwrap();
    drop((vmm, channel));
    let second = directory(&root, "second");
    let (mut vmm, mut channel) = launched(&machine, &second, Some(&snapshot), &tracker).await;
    // twice: a channel may break at any time
    for _ in 0..2 {
        let restored = greet_anew(&mut channel, &tracker, &SystemClock);
        let restored = timeout(PATIENCE, restored).await.unwrap().unwrap();
        assert_eq!(restored.boot_id, booted.boot_id);
    }
    let restored = greet_anew(&mut channel, &tracker, &SystemClock);
    let restored = timeout(PATIENCE, restored).await.unwrap().unwrap();
    power_off(restored.client).await.unwrap();
    let ended = timeout(PATIENCE, vmm.wait()).await.unwrap().unwrap();
    assert!(ended.success(), "{ended}");
}

async fn launched(
    machine: &Machine,
    directory: &Utf8Path,
    snapshot: Option<&Utf8Path>,
    tracker: &TaskTracker,
) -> (VmmProcess, Channel) {
    let backend = ChosenBackend {
        choice: BackendChoice {
            kind: BackendKind::Qemu,
            reason: "a test wants it".to_owned(),
        },
        program: "/usr/bin/qemu-system-x86_64".into(),
        acceleration: Acceleration::Software,
        network_helper: None,
        jail: None,
    };
    let request = VmmRequest {
        jail_id: None,
        machine,
        backend: &backend,
        directory,
        snapshot,
    };
    let Spawned {
        mut process,
        output,
        channel,
    } = VmmProcess::spawn(&request).unwrap();
    drop(tracker.spawn(drain(output.console)));
    drop(tracker.spawn(drain(output.errors)));
    process.launch().await.unwrap();
    (process, channel)
}

async fn drain(mut stream: impl tokio::io::AsyncRead + Unpin) {
    drop(tokio::io::copy(&mut stream, &mut tokio::io::sink()).await);
}

async fn machine(root: &Utf8Path) -> Machine {
    let boot = kernel(root).await;
    let disk = root.join("root.ext4");
    build_rootfs(root, &disk);
    let initrd = root.join("initrd.img");
    fs::write(&initrd, archive(&boot)).unwrap();
    Machine {
        vcpus: 1,
        memory: Bytes::from_mib(256),
        kernel: boot.kernel,
        initrd: Some(initrd),
        kernel_arguments: None,
        disks: vec![Disk {
            path: disk,
            serial: ROOT.to_owned(),
            read_only: false,
        }],
        network: None,
        time_stamp_khz: time_stamp_khz(),
        channel_port: PORT.to_owned(),
    }
}

async fn kernel(root: &Utf8Path) -> BootArtifacts {
    let directories = Directories {
        state: root.join("state"),
        cache: root.join("cache"),
        runtime: root.join("run"),
    };
    let store = Store::open(&directories).await.unwrap();
    let kernels = LocalKernelResolver::new(store, directories, Arc::new(SystemClock));
    let source = KernelSource::DebFile(given("BANGER_TESTBED").join("kernel/kernel.deb"));
    kernels
        .import(&source, None, &NoProgress)
        .await
        .unwrap()
        .boot
}

#[tokio::test]
async fn a_kernel_has_what_reaches_firecrackers_channel() {
    let scratch = tempfile::tempdir().unwrap();
    let root = Utf8PathBuf::try_from(scratch.path().to_owned()).unwrap();
    let boot = kernel(&root).await;
    let view = GuestView(BackendKind::Firecracker);
    let request = InitrdRequest {
        guest_program: &given("BANGER_GUEST_PROGRAM"),
        modules: boot.modules.as_deref(),
        wanted: view.channel_modules(),
        wished: view.button_modules(),
    };
    let loaded = build(&request).unwrap().module_paths;
    let place = |name: &str| loaded.iter().position(|path| path.ends_with(name)).unwrap();
    assert!(place("/vsock.ko") < place("/vmw_vsock_virtio_transport_common.ko"));
    assert!(
        place("/vmw_vsock_virtio_transport_common.ko") < place("/vmw_vsock_virtio_transport.ko")
    );
}

fn archive(boot: &BootArtifacts) -> Vec<u8> {
    let request = InitrdRequest {
        guest_program: &given("BANGER_GUEST_PROGRAM"),
        modules: boot.modules.as_deref(),
        wanted: &MODULES,
        wished: &[],
    };
    let initrd = build(&request).unwrap();
    let layout = Layout::Plain(PlainRoot {
        serial: ROOT.to_owned(),
    });
    let configuration = BootConfig {
        generation: GUEST_GENERATION,
        hostname: "kept".to_owned(),
        modules: initrd.module_paths,
        root: Some(RootDisk {
            layout: Some(layout),
        }),
        channel_port: PORT.to_owned(),
        ..BootConfig::default()
    };
    let mut archive = initrd.archive;
    archive.extend(boot_config_archive(&configuration.encode_to_vec()));
    archive
}

/// A root disk with empty directories: the agent needs nothing more.
fn build_rootfs(scratch: &Utf8Path, output: &Utf8Path) {
    let mut archive = tar::Builder::new(Vec::new());
    for directory in ["dev", "etc", "proc", "run", "sys", "tmp"] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(0o755);
        header.set_size(0);
        let nothing: &[u8] = &[];
        archive
            .append_data(&mut header, directory, nothing)
            .unwrap();
    }
    let content = archive.into_inner().unwrap();
    let path = scratch.join("layer.tar");
    fs::write(&path, &content).unwrap();
    let digest = Digest::of(&content);
    let blob = LayerBlob {
        path,
        bytes: LayerBytes::File,
        descriptor: LayerDescriptor {
            digest,
            size: Bytes::new(content.len() as u64),
            compression: Compression::None,
            diff_id: digest,
        },
        verified: false,
    };
    let request = RootfsRequest {
        size: Some(Bytes::from_mib(32)),
        ..RootfsRequest::new(vec![blob])
    };
    let token = CancellationToken::new();
    Ext4RootfsBuilder
        .build(&request, output, &NoProgress, &token)
        .unwrap();
}

fn directory(root: &Utf8Path, name: &str) -> Utf8PathBuf {
    let directory = root.join(name);
    crate::host_fs::create_private_directory(&directory).unwrap();
    directory
}

/// A path that `cargo xtask test` sets in the environment.
fn given(variable: &str) -> Utf8PathBuf {
    #[expect(
        clippy::disallowed_methods,
        reason = "how the test runner says where its parts are"
    )]
    let path = std::env::var(variable);
    path.unwrap_or_else(|_| panic!("{variable} is not set: run `cargo xtask test`"))
        .into()
}
