//! VM records.

use std::{collections::BTreeMap, time::SystemTime};

use super::{Bytes, GrantedLease, ImageId, NetworkMode, PublishedPort, VmId, VmName, VmVolume};

/// A virtual machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vm {
    /// Id, never reused.
    pub id: VmId,
    /// Unique name.
    pub name: VmName,
    /// The image it runs; the image cannot be deleted meanwhile.
    pub image: ImageId,
    /// What was asked for.
    pub spec: VmSpec,
    /// Where in its life it is.
    pub state: VmState,
    /// Why it is in that state, one line.
    pub reason: String,
    /// The backend of the present or last boot, and why it was chosen.
    pub backend: Option<BackendChoice>,
    /// The guest's boot id of the present or last boot.
    pub boot_id: Option<String>,
    /// The published ports of the present or last boot, with the host's ports
    /// that were bound.
    pub ports: Vec<PublishedPort>,
    /// How the last boot ended.
    pub exit: Option<VmExit>,
    /// When the record was made.
    pub created: SystemTime,
    /// When the present or last boot started.
    pub started: Option<SystemTime>,
    /// When the last boot ended.
    pub stopped: Option<SystemTime>,
    /// Rises by one with every published change.
    pub generation: u64,
}

/// What a VM is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmSpec {
    /// Number of virtual CPUs, at least 1.
    pub vcpus: u32,
    /// Guest memory.
    pub memory: Bytes,
    /// What the machine runs first.
    pub boot_mode: BootMode,
    /// How the root disk is made.
    pub root_disk: RootDiskMode,
    /// Size of the disk that takes the writes.
    pub disk_size: Bytes,
    /// Which backend the user wants; none means the best one there is.
    pub backend: Option<BackendKind>,
    /// What network it has.
    pub network: NetworkMode,
    /// Ports of the host that lead to it while it runs.
    pub ports: Vec<PublishedPort>,
    /// Delete the VM as soon as it stops.
    pub remove_on_stop: bool,
    /// How long it may live; for ever without.
    pub lease: Option<GrantedLease>,
    /// The user's own labels.
    pub labels: BTreeMap<String, String>,
    /// Disks beside the root, in the order of their mounting.
    pub volumes: Vec<VmVolume>,
    /// What it runs by itself.
    pub process: VmProcess,
}

/// What a VM runs by itself, as far as it differs from what its image says:
/// with [`BootMode::Entrypoint`] the command, with [`BootMode::Init`] only the
/// arguments, of the init.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VmProcess {
    /// Program and arguments, exactly; when empty, the image's entrypoint and
    /// cmd, or the image's own init.
    pub argv: Vec<String>,
    /// Environment beside the image's, each `KEY=VALUE`; the last of a key wins.
    pub env: Vec<String>,
    /// Working directory; the image's when none is given.
    pub working_directory: Option<String>,
    /// `user[:group]`; the image's when none is given.
    pub user: Option<String>,
}

impl Default for VmSpec {
    /// One CPU, 512 MiB, a shared root disk under 4 GiB of its own, and what
    /// else is the least of everything.
    fn default() -> Self {
        Self {
            vcpus: 1,
            memory: Bytes::from_mib(512),
            boot_mode: BootMode::Agent,
            root_disk: RootDiskMode::Overlay,
            disk_size: Bytes::from_mib(4096),
            backend: None,
            network: NetworkMode::User,
            ports: Vec::new(),
            remove_on_stop: false,
            lease: None,
            labels: BTreeMap::new(),
            volumes: Vec::new(),
            process: VmProcess::default(),
        }
    }
}

/// What a machine runs first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BootMode {
    /// banger's own init and agent, which runs commands. The VM counts as
    /// running when the agent answers.
    Agent,
    /// banger's init and agent, and a command: the image's entrypoint, or
    /// another one. Its output is the console's, and the machine ends with it.
    /// Where there is no command at all, this is [`BootMode::Agent`].
    Entrypoint,
    /// The image's own init, as the first process, which also powers the
    /// machine off; banger's agent beside it.
    Init,
    /// The image's kernel with the image's own initrd, both untouched, on a
    /// private copy of its disk. Nobody in the guest speaks to banger: the VM
    /// counts as running when its VMM does.
    Native,
}

impl BootMode {
    /// Every mode.
    pub const ALL: [Self; 4] = [Self::Agent, Self::Entrypoint, Self::Init, Self::Native];

    /// The mode's name, as stored and as users write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Entrypoint => "entrypoint",
            Self::Init => "init",
            Self::Native => "native",
        }
    }

    /// Whether an agent of banger's is in the guest.
    #[must_use]
    pub const fn has_agent(self) -> bool {
        match self {
            Self::Agent | Self::Entrypoint | Self::Init => true,
            Self::Native => false,
        }
    }
}

/// How a VM's root disk is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RootDiskMode {
    /// The image's disk read-only and shared, a private disk for the writes.
    Overlay,
    /// A private copy of the image's disk, which takes the writes.
    Clone,
}

/// A program that runs virtual machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BackendKind {
    /// QEMU's microvm machine, on KVM or software emulation.
    Qemu,
    /// Firecracker, on KVM.
    Firecracker,
}

impl BackendKind {
    /// Every backend.
    pub const ALL: [Self; 2] = [Self::Qemu, Self::Firecracker];

    /// The backend's name, as users write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Qemu => "qemu",
            Self::Firecracker => "firecracker",
        }
    }
}

/// A backend and why it was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendChoice {
    /// The backend.
    pub kind: BackendKind,
    /// Why, one line.
    pub reason: String,
}

/// Where in its life a VM is. `vm::lifecycle` has the allowed transitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VmState {
    /// Its disks are being made.
    Creating,
    /// Complete and never started.
    Created,
    /// Its monitor boots it.
    Starting,
    /// Its agent answers; without one, its VMM runs.
    Running,
    /// Its CPUs stand still; it holds its memory.
    Paused,
    /// It is being shut down.
    Stopping,
    /// It ended in order.
    Stopped,
    /// It could not boot, or ended out of order.
    Failed,
    /// Its files are being removed.
    Deleting,
}

impl VmState {
    /// Every state.
    pub const ALL: [Self; 9] = [
        Self::Creating,
        Self::Created,
        Self::Starting,
        Self::Running,
        Self::Paused,
        Self::Stopping,
        Self::Stopped,
        Self::Failed,
        Self::Deleting,
    ];

    /// The state's name, as stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Deleting => "deleting",
        }
    }
}

/// How a boot ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VmExit {
    /// The guest powered itself off, asked or by its own will.
    PoweredOff,
    /// The machine was ended by force after its grace period.
    Forced,
    /// The VMM ended out of order: its exit status or signal, in words.
    VmmDied(String),
    /// What carried the machine's network ended by itself, with this exit status
    /// or signal and these last words; the machine was brought down.
    NetworkLost(String),
    /// The monitor vanished and took the machine with it.
    MonitorLost,
    /// The command that the machine existed for ended, and the machine with it.
    Command(CommandEnd),
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CommandEnd {
    /// With this exit status.
    Code(u8),
    /// By the signal with this number.
    Signal(u8),
}

impl std::fmt::Display for CommandEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "status {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}
