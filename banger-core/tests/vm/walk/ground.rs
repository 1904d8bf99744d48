//! A state directory that many VMs come to and go from, one at a time.

use std::{collections::BTreeMap, fs, net::TcpListener, sync::Arc, time::Duration};

use banger_core::{
    clock::SystemClock,
    domain::{Bytes, PublishedPort, Vm, VmExit, VmState},
    rootfs::format_empty,
    store::Store,
    vm::{LocalVmOptions, LocalVmSupervisor, VmSupervisor as _},
    vmm::{JailIds, JailMode, JailOptions},
    volume::{CreateVolume, LocalVolumeManager, VolumeManager as _},
};
use camino::{Utf8Path, Utf8PathBuf};
use tokio::time::{Instant, sleep};

use super::{
    super::{
        fixture::{Host, PATIENCE, given, open_with},
        tiny_guest,
    },
    leftovers::{is_locked, leftovers},
    operation::NAME,
    processes::{self, Role},
};

/// Size of the disks.
pub(crate) const DISK: Bytes = Bytes::from_mib(16);
/// The named volume.
pub(crate) const VOLUME: &str = "data";
/// Holds the port of the host that leads to the VM.
const PORT: &str = "walk-port";
/// Says that machines run in jails.
const JAIL: &str = "walk-jail";
/// Ports that no client is given by the kernel (ip(7), `ip_local_port_range`).
const PORTS: std::ops::Range<u16> = 20_000..30_000;
/// Firecracker's last words when KVM gave up on its guest.
const KVM_FAULT: &str = "MicroVM stopped with an error: GenericError";
/// Between two looks.
pub(crate) const PAUSE: Duration = Duration::from_millis(5);

/// The directory, with what belongs to no VM.
pub(crate) struct Ground {
    pub(crate) host: Host,
    pub(crate) vms: LocalVmSupervisor,
}

/// What became of the one VM.
pub(crate) type Settled = Result<Option<Vm>, String>;

impl Ground {
    pub(crate) async fn new(jailed: bool) -> Self {
        let host = Host::with_fake_vmm("exit 1").await;
        let root = host.root();
        let image = root.join("file");
        fs::remove_file(&image).unwrap();
        format_empty(&image, DISK, [7; 16]).unwrap();
        let kernel = Self::kernel(&root);
        fs::write(&kernel, tiny_guest::obedient()).unwrap();
        host.replace_kernel(kernel).await;
        fs::create_dir(root.join("tree")).unwrap();
        fs::write(root.join("tree/file"), "content\n").unwrap();
        let volumes = LocalVolumeManager::new(
            host.store.clone(),
            host.directories.clone(),
            Arc::new(SystemClock),
        );
        let volume = CreateVolume {
            name: VOLUME.parse().unwrap(),
            size: DISK,
            labels: BTreeMap::new(),
        };
        volumes.create(volume).await.unwrap();
        fs::write(root.join(PORT), free_port().to_string()).unwrap();
        if jailed {
            fs::write(root.join(JAIL), "").unwrap();
        }
        let vms = Self::open(&root).await;
        Self { host, vms }
    }

    pub(crate) fn root(&self) -> Utf8PathBuf {
        self.host.root()
    }

    fn kernel(root: &Utf8Path) -> Utf8PathBuf {
        root.join("kernel")
    }

    /// What boots from now on hears its power button, or does not.
    pub(crate) fn boot_guests_that_hear(&self, hear: bool) {
        let guest = if hear {
            tiny_guest::obedient()
        } else {
            tiny_guest::deaf()
        };
        fs::write(Self::kernel(&self.root()), guest).unwrap();
    }

    pub(crate) fn store(&self) -> &Store {
        &self.host.store
    }

    /// Whether this is the root of one.
    pub(crate) fn is_at(root: &Utf8Path) -> bool {
        root.join(PORT).exists()
    }

    /// The users of its jails, which are those of no other; none without jails.
    pub(crate) fn jails(root: &Utf8Path) -> Option<JailIds> {
        if !root.join(JAIL).exists() {
            return None;
        }
        let number = u32::from(Self::port(root).host - PORTS.start);
        let first = JailIds::default().first() + number * 4;
        JailIds::new(first, first + 3)
    }

    /// The VM's port.
    pub(crate) fn port(root: &Utf8Path) -> PublishedPort {
        let number = fs::read_to_string(root.join(PORT)).unwrap();
        format!("{number}:80").parse().unwrap()
    }

    /// A supervisor with nothing that another one knows.
    pub(crate) async fn open(root: &Utf8Path) -> LocalVmSupervisor {
        let programs = |options: &mut LocalVmOptions| {
            let firecracker = given("BANGER_TESTBED").join("firecracker/firecracker");
            options.vmm.jail = JailOptions {
                mode: if Self::jails(root).is_some() {
                    JailMode::Always
                } else {
                    JailMode::Never
                },
                program: Some(firecracker.with_file_name("jailer")),
                ids: Self::jails(root).unwrap_or_default(),
            };
            options.vmm.firecracker = Some(firecracker);
            options.vmm.slirp4netns = Some("/usr/bin/slirp4netns".into());
        };
        open_with(root.as_str(), programs).await
    }

    /// Waits until everything that is there belongs to the VM as its record has
    /// it, and it is over, with the repairs of one who comes anew. The error is
    /// what does not.
    pub(crate) async fn settled(&self, is_over: impl Fn(&[Vm]) -> bool) -> Settled {
        let vms = Self::open(&self.root()).await;
        let deadline = Instant::now() + PATIENCE / 4;
        loop {
            if let Err(error) = vms.reconcile().await {
                return Err(format!("reconcile: {error:?}"));
            }
            let records = self.store().vms().await.unwrap();
            let snapshots = self.store().snapshots().await.unwrap();
            let mut found = leftovers(self, &records, &snapshots);
            found.extend(self.reserved_users(&records).await);
            if !is_over(&records) {
                found.push("not over".to_owned());
            }
            match (found.is_empty(), records.as_slice()) {
                (true, []) => return Ok(None),
                (true, [vm]) => return Ok(Some(vm.clone())),
                _ if Instant::now() < deadline => sleep(PAUSE).await,
                (_, records) => return Err(told(&found, records)),
            }
        }
    }

    /// Users that are reserved for a VM which does not run in a jail, and the
    /// lack of one for a VM that does.
    async fn reserved_users(&self, records: &[Vm]) -> Option<String> {
        let reserved = self.store().jail_ids().await.unwrap();
        let runs = |vm: &&Vm| vm.state == VmState::Running && Self::jails(&self.root()).is_some();
        let running: Vec<_> = records.iter().filter(runs).map(|vm| vm.id).collect();
        let having: Vec<_> = reserved.iter().map(|(_, vm)| *vm).collect();
        (running != having).then(|| format!("users {reserved:?} for {running:?}"))
    }

    /// Removes the VM and what was kept of it; nothing may be left.
    pub(crate) async fn clear(&self) -> Result<(), String> {
        for snapshot in self.store().snapshots().await.unwrap() {
            let id = snapshot.id.to_string();
            let deleted = self.vms.delete_snapshot(&id.as_str().into()).await;
            deleted.map_err(|error| format!("a snapshot cannot be deleted: {error:?}"))?;
        }
        match self.vms.delete(&NAME.into(), true).await {
            Err(error) if error.kind() != banger_core::ErrorKind::NotFound => {
                return Err(format!("the VM cannot be deleted: {error:?}"));
            }
            _ => {}
        }
        self.settled(<[Vm]>::is_empty).await.map(drop)
    }

    /// Kills the monitor and waits for what dies with it.
    pub(crate) async fn lose_monitor(&self) {
        let root = self.root();
        for living in processes::of(&root) {
            if living.role == Role::Monitor {
                processes::kill(living.id);
            }
        }
        let are_gone = async |_: &Host| processes::of(&root).is_empty();
        self.host.wait_until("nothing lives", are_gone).await;
        // it has no command line some moments before it lets go of its locks
        let is_free = async |host: &Host| {
            let vms = host.store.vms().await.unwrap();
            vms.iter().all(|vm| !is_locked(&host.directories.vm(vm.id)))
        };
        self.host.wait_until("nothing is locked", is_free).await;
    }

    /// How many changes of VMs there were.
    pub(crate) async fn changes(&self) -> u64 {
        let changes = self.store().vm_changes(None, 0, u32::MAX).await.unwrap();
        changes.last().map_or(0, |last| last.sequence)
    }

    /// Whether KVM gave up on a guest since then, as it does now and then where
    /// the CPU does not help it, whatever the guest.
    pub(crate) async fn kvm_gave_up(&self, since: u64) -> bool {
        let changes = self.store().vm_changes(None, since, u32::MAX).await;
        let is_so = |exit: &Option<VmExit>| matches!(exit, Some(VmExit::VmmDied(words)) if words.contains(KVM_FAULT));
        changes.unwrap().iter().any(|change| is_so(&change.exit))
    }

    /// Ends what a failed walk left.
    pub(crate) fn give_up(&self) {
        for living in processes::of(&self.root()) {
            processes::kill(living.id);
        }
    }
}

fn told(found: &[String], records: &[Vm]) -> String {
    let records: Vec<_> = records
        .iter()
        .map(|vm| format!("{} {:?}: {}", vm.name, vm.state, vm.reason))
        .collect();
    format!("{} [records: {}]", found.join("; "), records.join(", "))
}

/// One that this process may bind now, and that only other walks want, too.
fn free_port() -> u16 {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let own = (std::process::id() % 5_000) as u16;
    let offset = |_| NEXT.fetch_add(1, Ordering::Relaxed);
    let ports = PORTS
        .map(offset)
        .map(|offset| PORTS.start + own + offset % 5_000);
    let mut free = ports.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.next().unwrap()
}
