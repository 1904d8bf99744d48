//! VM records.

use std::{collections::BTreeMap, time::SystemTime};

use super::{Bytes, ImageId, VmId, VmName};

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
    /// How the root disk is made.
    pub root_disk: RootDiskMode,
    /// Size of the disk that takes the writes.
    pub disk_size: Bytes,
    /// Which backend the user wants; none means the best one there is.
    pub backend: Option<BackendKind>,
    /// Delete the VM as soon as it stops.
    pub remove_on_stop: bool,
    /// The user's own labels.
    pub labels: BTreeMap<String, String>,
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
}

impl BackendKind {
    /// Every backend.
    pub const ALL: [Self; 1] = [Self::Qemu];

    /// The backend's name, as users write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Qemu => "qemu",
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
    /// Its agent answers.
    Running,
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
    pub const ALL: [Self; 8] = [
        Self::Creating,
        Self::Created,
        Self::Starting,
        Self::Running,
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
    /// The monitor vanished and took the machine with it.
    MonitorLost,
}
