//! The core's choices and the API's, both ways, for whoever has the core. Pure.
//!
//! Invariants: a value that the other side does not know yet is unspecified, never
//! guessed. Entry points: the functions, `…_of` from the API's.

use std::net::Ipv4Addr;

use banger_core::{
    domain::{
        BootMode, NetworkMode, OnExpiry, PortProtocol, PublishedPort, RootDiskMode, VmChangeKind,
        VmState,
    },
    vmm::VmmMetrics,
};

use crate::v1;

macro_rules! choices {
    ($(#[doc = $doc:literal] $to:ident, $from:ident: $core:ident, $wire:ident { $($value:ident),+ })+) => {$(
        #[doc = concat!($doc, ", as the API has it.")]
        #[must_use]
        pub const fn $to(choice: $core) -> v1::$wire {
            match choice {
                $($core::$value => v1::$wire::$value,)+
                _ => v1::$wire::Unspecified,
            }
        }

        #[doc = concat!($doc, ", as the core has it; none for unspecified.")]
        #[must_use]
        pub const fn $from(choice: v1::$wire) -> Option<$core> {
            match choice {
                $(v1::$wire::$value => Some($core::$value),)+
                v1::$wire::Unspecified => None,
            }
        }
    )+};
}

choices! {
    /// How a root disk is made
    root_disk, root_disk_of: RootDiskMode, RootDisk { Overlay, Clone }
    /// What a machine runs first
    boot_mode, boot_mode_of: BootMode, BootMode { Agent, Entrypoint, Init, Native }
    /// What network a machine has
    network, network_of: NetworkMode, Network { None, User }
    /// What a lease's end means
    on_expiry, on_expiry_of: OnExpiry, LeaseExpiry { Stop, Delete }
    /// A machine's state
    state, state_of: VmState, VmState {
        Creating, Created, Starting, Running, Paused, Stopping, Stopped, Failed, Deleting
    }
    /// What happened to a machine's record
    change_kind, change_kind_of: VmChangeKind, VmChangeKind { Created, Changed, Removed }
}

macro_rules! metrics {
    ($($count:ident),+ $(,)?) => {
        /// What a VMM counted, as the API has it.
        #[must_use]
        pub const fn metrics(metrics: VmmMetrics) -> v1::VmmMetrics {
            let VmmMetrics { $($count),+ } = metrics;
            v1::VmmMetrics { $($count),+ }
        }

        /// What a VMM counted, as the core has it.
        #[must_use]
        pub const fn metrics_of(metrics: v1::VmmMetrics) -> VmmMetrics {
            let v1::VmmMetrics { $($count),+ } = metrics;
            VmmMetrics { $($count),+ }
        }
    };
}

metrics!(
    disk_read_bytes,
    disk_written_bytes,
    disk_reads,
    disk_writes,
    network_received_bytes,
    network_sent_bytes,
    channel_received_bytes,
    channel_sent_bytes,
    exits,
    refused_requests,
);

/// A published port, as the API has it.
#[must_use]
pub fn port(port: &PublishedPort) -> v1::PublishedPort {
    let protocol = match port.protocol {
        PortProtocol::Tcp => v1::PortProtocol::Tcp,
        PortProtocol::Udp => v1::PortProtocol::Udp,
    };
    v1::PublishedPort {
        address: port.address.to_string(),
        host_port: port.host.into(),
        guest_port: port.guest.get().into(),
        protocol: protocol.into(),
    }
}

/// A published port, as the core has it, or what is wrong with it. What is not given
/// is TCP on the loopback address.
pub fn port_of(port: &v1::PublishedPort) -> Result<PublishedPort, &'static str> {
    let address = match port.address.as_str() {
        "" => Ok(Ipv4Addr::LOCALHOST),
        text => text.parse().map_err(|_| "the address is no IPv4 address"),
    }?;
    let host = u16::try_from(port.host_port).map_err(|_| "the host's port is no port")?;
    let guest = u16::try_from(port.guest_port).ok();
    let guest = guest.and_then(|guest| guest.try_into().ok());
    let protocol = match v1::PortProtocol::try_from(port.protocol) {
        Ok(v1::PortProtocol::Unspecified | v1::PortProtocol::Tcp) => PortProtocol::Tcp,
        Ok(v1::PortProtocol::Udp) => PortProtocol::Udp,
        Err(_) => return Err("the protocol is unknown"),
    };
    Ok(PublishedPort {
        address,
        host,
        guest: guest.ok_or("the machine's port is no port")?,
        protocol,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_the_cores_names() {
        for known in VmState::ALL {
            let name = state(known).as_str_name();
            let expected = format!("VM_STATE_{}", known.as_str().to_uppercase());
            assert_eq!(name, expected);
            assert_eq!(state_of(state(known)), Some(known));
        }
    }

    #[test]
    fn every_choice_of_the_core_has_a_value() {
        for mode in BootMode::ALL {
            assert_eq!(boot_mode_of(boot_mode(mode)), Some(mode));
        }
        for mode in NetworkMode::ALL {
            assert_eq!(network_of(network(mode)), Some(mode));
        }
        for choice in OnExpiry::ALL {
            assert_eq!(on_expiry_of(on_expiry(choice)), Some(choice));
        }
    }
}
