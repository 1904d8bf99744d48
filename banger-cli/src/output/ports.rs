//! Published ports of VMs.

use banger_core::domain::{PublishedPort, Vm, VmState};
use serde::Serialize;

/// A published port, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PortOutput {
    address: String,
    /// None where any free one is asked for.
    host_port: Option<u16>,
    guest_port: u16,
    protocol: &'static str,
}

impl From<&PublishedPort> for PortOutput {
    fn from(port: &PublishedPort) -> Self {
        Self {
            address: port.address.to_string(),
            host_port: (port.host != 0).then_some(port.host),
            guest_port: port.guest.get(),
            protocol: port.protocol.as_str(),
        }
    }
}

/// The ports that are bound now: those of a VM that is up.
#[must_use]
pub fn bound_ports(vm: &Vm) -> &[PublishedPort] {
    match vm.state {
        VmState::Running | VmState::Stopping => &vm.ports,
        _ => &[],
    }
}

/// Ports for people: the guest's side and the host's, one a line.
#[must_use]
pub fn port_lines(ports: &[PublishedPort]) -> String {
    let line = |port: &PublishedPort| {
        let (guest, protocol) = (port.guest, port.protocol.as_str());
        format!("{guest}/{protocol} -> {}:{}\n", port.address, port.host)
    };
    ports.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_a_line_and_an_object() {
        let port: PublishedPort = "0.0.0.0:8053:53/udp".parse().unwrap();
        assert_eq!(port_lines(&[port]), "53/udp -> 0.0.0.0:8053\n");
        let any: PublishedPort = "80".parse().unwrap();
        let json = serde_json::to_value(PortOutput::from(&any)).unwrap();
        let expected = serde_json::json!({
            "address": "127.0.0.1", "host_port": null, "guest_port": 80, "protocol": "tcp"
        });
        assert_eq!(json, expected);
    }
}
