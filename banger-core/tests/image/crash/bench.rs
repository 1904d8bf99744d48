//! A state directory with everything that changes it, and what must hold of it.

use std::{
    collections::BTreeSet, fs, os::unix::fs::PermissionsExt as _, process::Command, sync::Arc,
};

use banger_core::{
    bundle::Location,
    catalog::{CatalogOptions, Supply, SupplyOptions},
    clock::SystemClock,
    domain::{Digest, Image, ImageOrigin, Kernel},
    image::{ImageManager as _, build::LocalImageBuilder},
    kernel::{KernelResolver as _, LocalKernelResolver},
    oci::SourceOptions,
    rootfs::RootfsLimits,
    vm::{LocalVmOptions, LocalVmSupervisor, MonitorProgram},
    vmm::VmmPrograms,
};
use camino::{Utf8Path, Utf8PathBuf};
use tokio_util::task::TaskTracker;

use super::{
    super::doubles::{World, vmlinux},
    machine::Machines,
    registry::Content,
};

/// Stands in for buildah: builds the one image there is.
const BUILDER: &str = "#!/bin/sh
set -eu
case \"$1\" in
--version) echo buildah ;;
build) echo ab12 >\"$3\" ;;
push)
    for last; do :; done
    path=${last#oci:}
    cp -r \"${0%/*}/../layout\" \"${path%:built}\"
    ;;
esac
";

/// Opens one state directory after the other.
pub(crate) struct Bench {
    pub(crate) root: Utf8PathBuf,
    pub(crate) world: World,
    pub(crate) kernels: LocalKernelResolver,
    pub(crate) builder: LocalImageBuilder,
    machines: Arc<Machines>,
}

impl Bench {
    /// Opens what is below `root`, or makes it.
    pub(crate) async fn open(root: &Utf8Path) -> Self {
        let world = World::with_disks(root).await;
        let directories = world.directories.clone();
        let (store, clock) = (world.store.clone(), Arc::new(SystemClock));
        let machines = Arc::new(Machines {
            commands: TaskTracker::new(),
            real: LocalVmSupervisor::new(LocalVmOptions {
                store: store.clone(),
                directories: directories.clone(),
                clock: clock.clone(),
                guest_program: root.join("guest"),
                monitor: MonitorProgram {
                    program: root.join("monitor"),
                    arguments: Vec::new(),
                },
                // never started
                vmm: VmmPrograms {
                    qemu: Some("/bin/true".into()),
                    ..VmmPrograms::default()
                },
            }),
        });
        let supply = SupplyOptions {
            catalogs: vec![CatalogOptions {
                name: "team".into(),
                location: Location::File(root.join("catalog.json")),
                sha256: None,
                key: None,
            }],
            ..SupplyOptions::default()
        };
        let supply = Supply::new(
            SourceOptions::new(directories.clone()),
            RootfsLimits::default(),
            supply,
        );
        Self {
            root: root.to_owned(),
            kernels: LocalKernelResolver::new(store, directories, clock).with_supply(supply),
            builder: LocalImageBuilder::new(Arc::clone(&world.manager), machines.clone()),
            machines,
            world,
        }
    }

    /// Puts a layout and a program that builds it below the root.
    pub(crate) fn add_builder(&self, content: &Content) {
        content.write_layout(&self.root.join("layout"));
        for directory in ["bin", "context"] {
            fs::create_dir_all(self.root.join(directory)).unwrap();
        }
        fs::write(self.root.join("context/Containerfile"), "FROM scratch\n").unwrap();
        let program = self.root.join("bin/buildah");
        fs::write(&program, BUILDER).unwrap();
        fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub(crate) async fn images(&self) -> Vec<Image> {
        self.world.manager.list().await.unwrap()
    }

    pub(crate) async fn kernels(&self) -> Vec<Kernel> {
        self.kernels.list().await.unwrap()
    }

    /// What the next start of banger does.
    pub(crate) async fn reconcile(&self) {
        self.machines.real.reconcile().await.unwrap();
        self.world.manager.reconcile().await.unwrap();
        self.kernels.reconcile().await.unwrap();
    }

    /// Everything that has a record has all its files, and nothing else lies
    /// about; the disks that were not made in a machine are among `disks`.
    pub(crate) async fn assert_whole(&self, disks: &BTreeSet<Digest>) {
        let images = self.images().await;
        let managed = images.iter().filter(|image| image.is_managed());
        let ids = managed.map(|image| image.id.to_string());
        assert_eq!(
            self.world
                .image_entries()
                .into_iter()
                .collect::<BTreeSet<_>>(),
            ids.collect()
        );
        for image in images {
            self.assert_whole_disk(&image, disks);
            assert_eq!(fs::read(&image.boot.kernel).unwrap(), vmlinux("image"));
        }
        let kernels = self.kernels().await;
        let homes = kernels
            .iter()
            .map(|kernel| kernel.directory.file_name().unwrap().to_owned());
        assert_eq!(self.entries("state/kernels"), homes.collect());
        kernels.iter().for_each(assert_whole_kernel);
        assert_eq!(self.world.store.vms().await.unwrap(), []);
        for directory in ["state/vms", "cache/leases"] {
            assert_eq!(self.entries(directory), BTreeSet::new(), "{directory}");
        }
    }

    fn assert_whole_disk(&self, image: &Image, disks: &BTreeSet<Digest>) {
        if matches!(image.origin, ImageOrigin::Built { .. }) {
            #[expect(clippy::disallowed_methods, reason = "a tool that ends by itself")]
            let mut command = Command::new("/sbin/e2fsck");
            let command = command.args(["-fn", image.rootfs.as_str()]);
            let checked = command.output().unwrap();
            assert!(checked.status.success(), "{checked:?}");
            return;
        }
        let disk = Digest::of(&fs::read(&image.rootfs).unwrap());
        assert!(disks.contains(&disk), "another disk in {}", self.root);
    }

    /// What an operation that came to its end leaves nowhere.
    pub(crate) fn assert_clean(&self) {
        assert!(!self.root.join("out.partial").exists());
        assert_eq!(self.entries("state/build-logs"), BTreeSet::new());
        for name in self.entries("cache/blobs/sha256") {
            let path = self.root.join("cache/blobs/sha256").join(&name);
            if path.extension() != Some("lock") {
                assert_eq!(Digest::of(&fs::read(&path).unwrap()).to_hex(), name);
            }
        }
    }

    /// The names in a directory that may be missing.
    fn entries(&self, directory: &str) -> BTreeSet<String> {
        let entries = self.root.join(directory).read_dir_utf8();
        let names = entries.into_iter().flatten();
        names
            .map(|entry| entry.unwrap().file_name().to_owned())
            .collect()
    }
}

fn assert_whole_kernel(kernel: &Kernel) {
    let vmlinux = fs::read(&kernel.boot.kernel).unwrap();
    assert_eq!(Digest::of(&vmlinux), kernel.sha256);
    let release = kernel.version.as_bytes();
    assert!(vmlinux.windows(release.len()).any(|bytes| bytes == release));
    assert_eq!(
        fs::read(kernel.boot.initrd.as_ref().unwrap()).unwrap(),
        b"initrd"
    );
    let modules = kernel.boot.modules.as_ref().unwrap();
    assert_eq!(fs::read(modules.join("kernel/a.ko")).unwrap(), b"module");
    let manifest = fs::read(kernel.directory.join("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["version"], kernel.version);
}
