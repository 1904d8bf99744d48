//! Which ports are forwarded.

use std::{net::SocketAddr, num::NonZeroU16};

use serde::Serialize;

/// A forwarded port, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ForwardOutput {
    listen: SocketAddr,
    guest_port: u16,
}

impl ForwardOutput {
    /// A port of the host that leads to one of a guest.
    #[must_use]
    pub const fn new(listen: SocketAddr, guest: NonZeroU16) -> Self {
        Self {
            listen,
            guest_port: guest.get(),
        }
    }
}

/// Forwarded ports for people, one a line.
#[must_use]
pub fn forward_lines(forwards: &[ForwardOutput]) -> String {
    let line = |forward: &ForwardOutput| format!("{} -> {}\n", forward.listen, forward.guest_port);
    forwards.iter().map(line).collect()
}
