//! The addresses of a user network: each machine has one of its own, so they
//! are the same in all (QEMU manual, "Using the user mode network stack").

use std::{fmt, net::Ipv4Addr, str::FromStr};

use crate::domain::VmId;

/// The network.
pub(crate) const NETWORK: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 0);
/// Bits of an address that are the network's.
pub(crate) const PREFIX: u8 = 24;
/// The way out; also the host's own loopback interface.
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// Answers as the host's resolver does.
pub(crate) const RESOLVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);
/// The machine.
pub(crate) const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);

/// Of the first byte: not of a manufacturer, and of one interface (IEEE 802, 8.2).
const LOCALLY_ADMINISTERED: u8 = 0b10;
const MULTICAST: u8 = 0b01;

/// The address of an Ethernet interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HardwareAddress([u8; 6]);

impl HardwareAddress {
    /// A machine's: made of what is random in its id, so that no two have the
    /// same, and a VM keeps its own.
    #[must_use]
    pub fn of(vm: VmId) -> Self {
        let mut bytes = [0; 6];
        // 12 hexadecimal digits
        hex::decode_to_slice(vm.short(), &mut bytes).ok();
        bytes[0] = bytes[0] & !MULTICAST | LOCALLY_ADMINISTERED;
        Self(bytes)
    }
}

impl fmt::Display for HardwareAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.map(|byte| format!("{byte:02x}"));
        f.write_str(&bytes.join(":"))
    }
}

impl FromStr for HardwareAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("{text:?} is not a hardware address");
        let mut bytes = [0; 6];
        hex::decode_to_slice(text.replace(':', ""), &mut bytes).map_err(|_| refused())?;
        let address = Self(bytes);
        if address.to_string() == text {
            Ok(address)
        } else {
            Err(refused())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_the_machines_own_and_no_manufacturers() {
        let id: VmId = "0192f0c1-2345-7abc-8def-f123456789ab".parse().unwrap();
        let address = HardwareAddress::of(id);
        assert_eq!(address.to_string(), "f2:23:45:67:89:ab");
        assert_eq!(address.to_string().parse(), Ok(address));
        assert_eq!(HardwareAddress::of(id), address);
        for _ in 0..100 {
            let first = HardwareAddress::of(VmId::generate()).0[0];
            assert_eq!(first & 0b11, LOCALLY_ADMINISTERED);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "f2:23", "F2:23:45:67:89:AB", "f22345:67:89:ab", "zz"] {
            assert!(text.parse::<HardwareAddress>().is_err(), "{text}");
        }
    }
}
