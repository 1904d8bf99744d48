//! QEMU's microvm machine (QEMU manual, "microvm virtual platform"): virtio
//! devices over MMIO, found through ACPI; console on the first serial port.
//!
//! Purpose: QEMU behind the seam. Invariants: QEMU reaches nothing of the host
//! but the files it is given and the descriptors it inherits.
//! Entry points: [`prepare`], [`Machine`].

mod arguments;
mod control;
mod machine;
mod stream;

use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixStream as StdUnixStream},
};

use tokio::{
    net::{UnixListener, UnixStream},
    process::Command,
};

use super::{BackendError, Channel, process::VmmRequest};
use crate::{host_fs::IoContext as _, sys};
use arguments::{ChannelEnd, Descriptors, arguments};
use control::Control;
pub(super) use machine::Machine;

/// The socket of a restored machine's channel.
const CHANNEL_SOCKET: &str = "channel.sock";
/// Every socket that QEMU or we may make.
pub(super) const SOCKETS: [&str; 1] = [CHANNEL_SOCKET];

/// Completes QEMU's command for a machine.
pub(super) fn prepare(
    mut command: Command,
    request: &VmmRequest<'_>,
) -> Result<(Command, Machine, Channel), BackendError> {
    let failed = |source| BackendError::Spawn {
        program: request.backend.program.to_string(),
        source,
    };
    let (control, qemus) = pair().map_err(failed)?;
    let control_descriptor = sys::inherit(&mut command, qemus);
    let (channel, channel_end) = match request.snapshot {
        None => {
            let (ours, qemus) = pair().map_err(failed)?;
            let end = ChannelEnd::Connected(sys::inherit(&mut command, qemus));
            (Channel::Pair(Some(ours)), end)
        }
        Some(_) => listening(&mut command, request)?,
    };
    let (incoming, feed) = match request.snapshot {
        None => (None, None),
        Some(directory) => {
            let (feed, qemus) = stream::open(directory)?;
            (Some(sys::inherit(&mut command, qemus)), Some(feed))
        }
    };
    let descriptors = Descriptors {
        channel: channel_end,
        control: control_descriptor,
        incoming,
    };
    command.current_dir("/").args(arguments(
        request.machine,
        request.backend.acceleration,
        descriptors,
    ));
    Ok((command, Machine::new(Control::new(control), feed), channel))
}

/// A restored guest believes its channel to be connected. It is told that it
/// is not, and then of every new connection, when QEMU listens.
fn listening(
    command: &mut Command,
    request: &VmmRequest<'_>,
) -> Result<(Channel, ChannelEnd), BackendError> {
    let socket = request.directory.join(CHANNEL_SOCKET);
    let listener = UnixListener::bind(&socket).and_then(UnixListener::into_std);
    let listener = listener.at("bind socket", &socket)?;
    let end = ChannelEnd::Listening(sys::inherit(command, listener.into()));
    Ok((Channel::Connect(socket), end))
}

/// A socket pair: our end and QEMU's.
fn pair() -> io::Result<(UnixStream, OwnedFd)> {
    let (ours, qemus) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    Ok((UnixStream::from_std(ours)?, qemus.into()))
}
