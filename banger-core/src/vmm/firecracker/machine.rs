//! A machine that Firecracker runs.

use std::{
    fs::File,
    io,
    os::{fd::OwnedFd, unix::fs::OpenOptionsExt as _},
    sync::Arc,
};

use camino::{Utf8Path, Utf8PathBuf};

use super::{
    super::{
        self as vmm, BackendError, error::broken, jail::RunningJail, network::namespace::GUEST_TAP,
    },
    VSOCK_SOCKET,
    api::{
        Action, BootSource, CacheType, CreateSnapshot, Drive, Entropy, LoadSnapshot, MachineConfig,
        MemoryBackend, MetricsPipe, NetworkInterface, SnapshotType, VmState, Vsock,
    },
    client::{Client, Message, version_in},
    disk_link,
    jailed::NAMES,
    metrics::{self, Metrics, MetricsProbe},
    version::{OLDEST, Version},
};
use crate::{
    domain::BackendKind,
    host_fs::{IoContext as _, sync_file},
    step::reached,
    task::off_thread,
};

/// The guest kernel's command line. `panic=-1` with `reboot=k`, which
/// Firecracker's keyboard controller understands, makes a panic end the machine
/// at once; nothing is looked for that is not there.
const KERNEL_COMMAND_LINE: &str =
    "console=ttyS0 reboot=k panic=-1 pci=off i8042.noaux i8042.nomux i8042.dumbkbd quiet";
/// The guest's address on the vsock device: the first that is free.
const GUEST_CID: u32 = 3;
/// Name of the network interface in Firecracker's interface.
const INTERFACE: &str = "network0";
/// Name of the file with the devices' state in a snapshot's directory.
const STATE: &str = "firecracker.state";
/// Name of the file with the memory.
const MEMORY: &str = "firecracker.memory";

/// A machine that Firecracker runs.
#[derive(Debug)]
pub(in crate::vmm) struct Machine {
    client: Arc<Client>,
    metrics: Metrics,
    plan: Plan,
    program: String,
    jail: Option<RunningJail>,
}

/// What the files of a machine are called where its VMM does not find them by
/// the paths they have here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names<'a> {
    pub(super) kernel: &'a str,
    pub(super) initrd: &'a str,
    /// Both files of a snapshot.
    pub(super) state: &'a str,
    pub(super) memory: &'a str,
}

/// How the guest comes to run.
#[derive(Debug)]
pub(super) enum Plan {
    Boot {
        size: MachineConfig,
        source: BootSource,
        drives: Vec<Drive>,
        interface: Option<NetworkInterface>,
    },
    Restore(LoadSnapshot),
}

impl Plan {
    pub(super) fn boot(machine: &vmm::Machine, names: Option<Names<'_>>) -> Self {
        let kernel = names.map_or(machine.kernel.as_str(), |names| names.kernel);
        let initrd = machine.initrd.as_deref().map(Utf8Path::as_str);
        let initrd = initrd.map(|path| names.map_or(path, |names| names.initrd));
        let drive = |(index, disk): (usize, &vmm::Disk)| Drive {
            id: disk_link(index),
            path_on_host: disk_link(index),
            is_root_device: false,
            is_read_only: disk.read_only,
            cache_type: if disk.read_only {
                CacheType::Unsafe
            } else {
                CacheType::Writeback
            },
        };
        Self::Boot {
            size: MachineConfig {
                vcpu_count: machine.vcpus,
                mem_size_mib: machine.memory.to_mib_ceiling(),
            },
            source: BootSource {
                kernel_image_path: kernel.to_owned(),
                initrd_path: initrd.map(str::to_owned),
                boot_args: kernel_command_line(machine),
            },
            drives: machine.disks.iter().enumerate().map(drive).collect(),
            interface: machine.network.as_ref().map(|network| NetworkInterface {
                id: INTERFACE.to_owned(),
                guest_mac: network.hardware_address.to_string(),
                host_dev_name: GUEST_TAP.to_owned(),
            }),
        }
    }

    /// What the VMM is told before the guest may run.
    fn description(&self) -> Result<Vec<Message>, BackendError> {
        let counted = Message::of(&MetricsPipe {
            metrics_path: metrics::PIPE.to_owned(),
        })?;
        let Self::Boot {
            size,
            source,
            drives,
            interface,
        } = self
        else {
            return Ok(vec![counted]);
        };
        let vsock = Vsock {
            guest_cid: GUEST_CID,
            uds_path: VSOCK_SOCKET.to_owned(),
        };
        let mut messages = vec![counted, Message::of(size)?, Message::of(source)?];
        for drive in drives {
            messages.push(Message::of(drive)?);
        }
        if let Some(interface) = interface {
            messages.push(Message::of(interface)?);
        }
        messages.extend([Message::of(&vsock)?, Message::of(&Entropy {})?]);
        Ok(messages)
    }

    /// What has the guest run.
    fn last(&self) -> Result<Message, BackendError> {
        match self {
            Self::Boot { .. } => Message::of(&Action::InstanceStart),
            Self::Restore(snapshot) => Message::of(snapshot),
        }
    }

    pub(super) fn restore(
        directory: &Utf8Path,
        names: Option<Names<'_>>,
    ) -> Result<Self, BackendError> {
        let (state, memory) = files(directory);
        if !state.is_file() || !memory.is_file() {
            return Err(BackendError::NoSnapshot {
                directory: directory.to_string(),
                backend: BackendKind::Firecracker.as_str(),
            });
        }
        Ok(Self::Restore(LoadSnapshot {
            snapshot_path: names.map_or(state.as_str(), |names| names.state).to_owned(),
            mem_backend: MemoryBackend::File(
                names
                    .map_or(memory.as_str(), |names| names.memory)
                    .to_owned(),
            ),
            resume_vm: true,
        }))
    }
}

impl Machine {
    /// `counted` is the pipe of its metrics.
    pub(super) fn new(
        client: Client,
        counted: OwnedFd,
        plan: Plan,
        program: String,
    ) -> io::Result<Self> {
        Ok(Self {
            client: Arc::new(client),
            metrics: Metrics::listen(counted)?,
            plan,
            program,
            jail: None,
        })
    }

    /// Asks for what its VMM counts.
    pub(in crate::vmm) fn metrics(&self) -> MetricsProbe {
        self.metrics.probe(self.client.clone())
    }

    /// The same machine, whose VMM lives in a jail.
    pub(super) fn in_jail(self, jail: RunningJail) -> Self {
        Self {
            jail: Some(jail),
            ..self
        }
    }

    pub(in crate::vmm) async fn launch(&mut self) -> Result<(), BackendError> {
        let version = Message::version();
        let described = self.plan.description()?;
        let last = self.plan.last()?;
        let mut api = self.client.wait_until_up().await?;
        // nothing runs before all of it was accepted
        let first = [&version].into_iter().chain(&described);
        api.send(&first.collect::<Vec<_>>()).await?;
        self.check_version(&version_in(&api.answer(&version).await?)?)?;
        for message in &described {
            api.answer(message).await?;
        }
        reached("described a machine to its VMM");
        api.ask(&last).await.map(drop)
    }

    fn check_version(&self, text: &str) -> Result<(), BackendError> {
        let version = Version::parse(text).ok_or_else(|| {
            let unknown = format!("{text:?} is no version");
            broken("GET /version")(io::Error::other(unknown))
        })?;
        if version < OLDEST {
            return Err(BackendError::TooOld {
                program: self.program.clone(),
                version: text.to_owned(),
                oldest: OLDEST.to_string(),
            });
        }
        Ok(())
    }

    /// Firecracker's machines have a keyboard and no power button.
    pub(in crate::vmm) async fn press_power_button(&self) -> Result<(), BackendError> {
        self.client.send(&Action::SendCtrlAltDel).await
    }

    pub(in crate::vmm) async fn pause(&self) -> Result<(), BackendError> {
        self.client.send(&VmState::Paused).await
    }

    pub(in crate::vmm) async fn resume(&self) -> Result<(), BackendError> {
        self.client.send(&VmState::Resumed).await
    }

    /// `vmm` is the process id.
    pub(in crate::vmm) async fn snapshot(
        &mut self,
        directory: &Utf8Path,
        vmm: u32,
    ) -> Result<(), BackendError> {
        let (state, memory) = files(directory);
        // Firecracker would let others read them
        for path in [&state, &memory] {
            let mut options = File::options();
            options.write(true).create(true).truncate(true).mode(0o600);
            options.open(path).at("create", path)?;
        }
        if let Some(jail) = &mut self.jail {
            let lent = [(&*state, NAMES.state), (&*memory, NAMES.memory)];
            jail.lend(vmm, &lent).await?;
            let sent = self.keep_in(NAMES.state, NAMES.memory).await;
            // what was not taken back would be before the next is lent
            RunningJail::take_back(vmm, &[NAMES.state, NAMES.memory]).await?;
            sent?;
        } else {
            self.keep_in(state.as_str(), memory.as_str()).await?;
        }
        off_thread(move || {
            sync_file(&state)?;
            sync_file(&memory)
        })
        .await?;
        Ok(())
    }
}

impl Machine {
    /// Has the state be written to files that its VMM knows by these paths.
    async fn keep_in(&self, state: &str, memory: &str) -> Result<(), BackendError> {
        let request = CreateSnapshot {
            snapshot_type: SnapshotType::Full,
            snapshot_path: state.to_owned(),
            mem_file_path: memory.to_owned(),
        };
        self.client.send(&request).await
    }
}

fn kernel_command_line(machine: &vmm::Machine) -> String {
    let more = machine.kernel_arguments.as_deref();
    [KERNEL_COMMAND_LINE]
        .into_iter()
        .chain(more)
        .collect::<Vec<_>>()
        .join(" ")
}

/// The files of a snapshot: state and memory.
pub(super) fn files(directory: &Utf8Path) -> (Utf8PathBuf, Utf8PathBuf) {
    (directory.join(STATE), directory.join(MEMORY))
}
