//! Firecracker (its `docs/` and OpenAPI description, 1.12 to 1.17): virtio
//! devices over MMIO, found through ACPI; console on the first serial port,
//! which is the process's standard output; told what to do over a Unix socket.
//!
//! Purpose: Firecracker behind the seam. Invariants: everything of the host
//! that a machine's kept state refers to is named relative to the VMM's working
//! directory, the private one it is given, so that the state can be gone on
//! from in any other; the guest connects to the host, never the other way.
//! Entry points: [`prepare`], [`Machine`].

mod api;
mod client;
mod jailed;
mod machine;
pub(crate) mod metrics;
mod version;

use std::{
    fs::Metadata,
    io,
    os::{
        fd::OwnedFd,
        unix::fs::{MetadataExt as _, symlink},
    },
};

use camino::Utf8Path;
use rustix::fs::{CWD, Mode, OFlags, mkfifoat, open};
use tokio::{net::UnixListener, process::Command};

use super::{BackendError, Channel, ChosenJail, jail::Confinement, process::VmmRequest};
use crate::{host_fs::IoContext as _, step::reached};
#[cfg(feature = "fuzzing")]
pub(crate) use client::Answer;
use client::Client;
use jailed::Jailed;
pub(super) use machine::Machine;
use machine::Plan;
pub(crate) use metrics::MetricsProbe;
pub(crate) use version::Support;

/// The vsock port of the host to which the guest connects for its channel.
pub(super) const CHANNEL_PORT: u32 = 1024;
/// The socket of the API.
const API_SOCKET: &str = "api.sock";
/// The socket of the vsock device; a guest that connects to a port of the host
/// is connected to the socket of this name with `_` and the port after it.
const VSOCK_SOCKET: &str = "vsock";
/// The socket of the channel.
const CHANNEL_SOCKET: &str = "vsock_1024";
/// Every socket that Firecracker or we may make.
pub(super) const SOCKETS: [&str; 3] = [API_SOCKET, VSOCK_SOCKET, CHANNEL_SOCKET];

/// Standard error, by a name that can be opened: without, the log would go to
/// the console.
const LOG: &str = "/proc/self/fd/2";
/// Longest id that Firecracker takes.
const ID_LIMIT: usize = 64;
/// Longest serial number of a virtio disk.
const SERIAL_LIMIT: usize = 20;

/// The same for a machine whose VMM is to live in a jail, of whose making the
/// jailer's command is only a part.
pub(super) fn prepare_jailed(
    request: &VmmRequest<'_>,
    jail: &ChosenJail,
) -> Result<(Command, Machine, Channel, Confinement), BackendError> {
    let Jailed {
        command,
        machine,
        channel,
        confinement,
    } = jailed::prepare(request, jail)?;
    Ok((command, machine, channel, confinement))
}

/// Completes Firecracker's command for a machine.
pub(super) fn prepare(
    mut command: Command,
    request: &VmmRequest<'_>,
) -> Result<(Command, Machine, Channel), BackendError> {
    let directory = request.directory;
    for (index, disk) in request.machine.disks.iter().enumerate() {
        let link = directory.join(disk_link(index));
        symlink(&disk.path, &link).at("link a disk as", &link)?;
        reached("linked a disk for a VMM");
    }
    let socket = directory.join(CHANNEL_SOCKET);
    let channel = UnixListener::bind(&socket).at("bind socket", &socket)?;
    reached("bound the socket of a channel");
    let api = directory.join(API_SOCKET);
    command
        .args(["--api-sock", api.as_str(), "--id", &id(directory)])
        .args(["--log-path", LOG, "--level", "Warning"])
        .current_dir(directory);
    let plan = match request.snapshot {
        None => Plan::boot(request.machine, None),
        Some(snapshot) => Plan::restore(snapshot, None)?,
    };
    let client = Client::new(api);
    let program = request.backend.program.to_string();
    let pipe = directory.join(metrics::PIPE);
    let machine =
        named_pipe(&pipe).and_then(|counted| Machine::new(client, counted, plan, program));
    let machine = machine.at("make pipe", &pipe)?;
    Ok((command, machine, Channel::Accept(channel)))
}

/// Makes a named pipe, and opens it for reading.
fn named_pipe(path: &Utf8Path) -> io::Result<OwnedFd> {
    mkfifoat(CWD, path.as_str(), Mode::RUSR | Mode::WUSR)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(open(path.as_str(), flags, Mode::empty())?)
}

/// Where a disk's file is found.
fn disk_link(index: usize) -> String {
    format!("disk{index}")
}

/// A name for the process: that of the machine's directory, as far as
/// Firecracker takes it.
fn id(directory: &Utf8Path) -> String {
    let name = directory.file_name().unwrap_or_default();
    let fits = |letter: &char| letter.is_ascii_alphanumeric() || *letter == '-';
    let id: String = name.chars().filter(fits).take(ID_LIMIT).collect();
    if id.is_empty() { "vm".to_owned() } else { id }
}

/// The serial number that Firecracker gives a disk: it takes none of ours.
/// (`src/vmm/src/devices/virtio/block/virtio/device.rs`, as kvmtool does.)
pub(super) fn serial(disk: &Metadata) -> String {
    let mut serial = format!("{}{}{}", disk.dev(), disk.rdev(), disk.ino());
    serial.truncate(SERIAL_LIMIT);
    serial
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_channels_socket_is_where_firecracker_looks_for_it() {
        assert_eq!(CHANNEL_SOCKET, format!("{VSOCK_SOCKET}_{CHANNEL_PORT}"));
    }

    #[test]
    fn ids_are_what_firecracker_takes() {
        let long = format!("/run/{}", "a".repeat(80));
        for (directory, expected) in [
            ("/run/banger/01-ab", "01-ab"),
            ("/run/a_b.c", "abc"),
            ("/", "vm"),
            (&long, &"a".repeat(ID_LIMIT)),
        ] {
            assert_eq!(id(Utf8Path::new(directory)), *expected);
        }
    }

    #[test]
    fn a_serial_is_made_of_device_and_inode() {
        let file = tempfile::tempfile().unwrap();
        let metadata = file.metadata().unwrap();
        let serial = serial(&metadata);
        let whole = format!("{}0{}", metadata.dev(), metadata.ino());
        assert!(!serial.is_empty() && serial.len() <= SERIAL_LIMIT);
        assert!(whole.starts_with(&serial), "{serial} {whole}");
    }
}
