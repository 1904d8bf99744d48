//! What a guest finds on a machine, by the backend that runs it.
//!
//! Purpose: what must be told to a guest before it runs. Pure but for the look
//! at a disk's file. Entry point: [`GuestView`].

use std::{fs, io};

use super::{Disk, firecracker};
use crate::{
    domain::BackendKind,
    host_fs::{IoContext as _, PathError},
};

/// A backend as its guests see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GuestView(pub(crate) BackendKind);

impl GuestView {
    /// Modules that reach the channel.
    pub(crate) const fn channel_modules(self) -> &'static [&'static str] {
        match self.0 {
            BackendKind::Qemu => &["virtio_console"],
            BackendKind::Firecracker => &["vmw_vsock_virtio_transport"],
        }
    }

    /// Modules that hear the power button, or what stands for it.
    pub(crate) const fn button_modules(self) -> &'static [&'static str] {
        match self.0 {
            BackendKind::Qemu => &["evdev", "button"],
            BackendKind::Firecracker => &["i8042", "atkbd"],
        }
    }

    /// The vsock port of the host to which the guest connects; none where the
    /// channel is a virtio-serial port.
    pub(crate) const fn channel_vsock_port(self) -> Option<u32> {
        match self.0 {
            BackendKind::Qemu => None,
            BackendKind::Firecracker => Some(firecracker::CHANNEL_PORT),
        }
    }

    /// Whether a guest ends its machine by a reset, since the VMM knows no
    /// power-off.
    pub(crate) const fn ends_by_reset(self) -> bool {
        match self.0 {
            BackendKind::Qemu => false,
            BackendKind::Firecracker => true,
        }
    }

    /// The serial number under which the guest finds a disk, whose file exists.
    pub(crate) fn serial(self, disk: &Disk) -> Result<String, PathError> {
        match self.0 {
            BackendKind::Qemu => Ok(disk.serial.clone()),
            BackendKind::Firecracker => {
                let metadata = fs::metadata(&disk.path).at("examine", &disk.path)?;
                Ok(firecracker::serial(&metadata))
            }
        }
    }

    /// The same of several disks, which must differ.
    pub(crate) fn serials(self, disks: &[Disk]) -> Result<Vec<String>, PathError> {
        let mut serials: Vec<String> = Vec::new();
        for disk in disks {
            let serial = self.serial(disk)?;
            if serials.contains(&serial) {
                let problem =
                    io::Error::other(format!("another disk has the serial number {serial} too"));
                return Err(PathError::new("tell apart", &disk.path, problem));
            }
            serials.push(serial);
        }
        Ok(serials)
    }
}
