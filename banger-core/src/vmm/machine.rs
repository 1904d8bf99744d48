//! What a virtual machine is made of, whatever runs it.

use camino::Utf8PathBuf;

use super::MachineNetwork;
use crate::domain::Bytes;

/// A machine to run. It has a serial console, a source of entropy, and a way
/// for byte streams to the host (a virtio-serial port, or vsock).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Number of virtual CPUs.
    pub vcpus: u32,
    /// Guest memory.
    pub memory: Bytes,
    /// The kernel, an ELF `vmlinux`.
    pub kernel: Utf8PathBuf,
    /// The initrd.
    pub initrd: Option<Utf8PathBuf>,
    /// What the kernel is told beside what the backend tells it.
    pub kernel_arguments: Option<String>,
    /// The disks, in order.
    pub disks: Vec<Disk>,
    /// The network interface; none leaves it alone with itself.
    pub network: Option<MachineNetwork>,
    /// Speed of the time stamp counter that an emulated guest reads, in kHz;
    /// none lets the guest find out.
    pub time_stamp_khz: Option<u64>,
    /// Name of the virtio-serial port, on machines that have one.
    pub channel_port: String,
}

/// A raw disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The file.
    pub path: Utf8PathBuf,
    /// The serial number by which the guest finds it: at most 20 bytes
    /// (virtio specification, "Block Device", `VIRTIO_BLK_T_GET_ID`).
    /// Firecracker gives its own instead.
    pub serial: String,
    /// Whether it is only read, and so may be shared by many machines.
    pub read_only: bool,
}
