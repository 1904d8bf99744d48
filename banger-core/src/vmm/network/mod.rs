//! The user network of a machine, and the host's ports that lead to it.
//!
//! Purpose: one plan of addresses for every backend, and host ports that are
//! known to be free, each by its number, before a VMM is started. Invariants:
//! everything here works without privilege; a port that cannot be bound is
//! told before there is anything to undo.
//! Entry points: [`MachineNetwork`], [`reserve`], [`plan`]; for a VMM without a
//! user network of its own [`namespace::enclose`] and [`NetworkHelper::join`].
//!
//! QEMU's own user network (slirp) carries it. passt would be faster and knows
//! IPv6, but it is one more program to install, to start, to confine and to
//! end; it copies the addresses of an interface of the host, so that a guest's
//! differ from host to host, and a host without one has no network at all. slirp is a
//! part of QEMU, lives in its sandbox and ends with it, and slirp4netns is the
//! same code for other VMMs: one plan fits all. IPv6 is off: slirp's is an
//! island, on which programs would try every address of a name in vain first.

mod error;
mod helper;
pub(crate) mod namespace;
pub(crate) mod plan;
mod reservation;

pub use error::NetworkError;
pub(crate) use helper::{HelperRequest, NetworkHelper, socket_path};
pub use plan::HardwareAddress;
pub(crate) use reservation::{PortRefused, Reservation, reserve};

use crate::domain::PublishedPort;

/// A machine's one network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineNetwork {
    /// Its address, by which the guest finds it.
    pub hardware_address: HardwareAddress,
    /// Ports of the host that lead to the machine; when it is started, each
    /// host's port is known.
    pub ports: Vec<PublishedPort>,
}

#[cfg(test)]
mod tests;
