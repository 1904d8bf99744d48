//! Requests to the kernel about interfaces, addresses and routes, and its
//! answers (rtnetlink(7)), as far as one machine's network needs them. Pure.
//!
//! Invariants: a request is made of fixed parts and asks for an answer, which the
//! kernel gives before the call that sent it returns. Entry points: the functions
//! that make a request, [`outcome`].

use std::{io, net::Ipv4Addr};

// of linux/netlink.h
const REQUEST: u16 = 0x1;
const ACKNOWLEDGE: u16 = 0x4;
const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;
const ERROR: u16 = 2;
/// Length of the header that every message begins with.
const HEADER: usize = 16;

// of linux/rtnetlink.h, linux/if_link.h and linux/if_addr.h
const NEW_LINK: u16 = 16;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;
/// `AF_INET`.
const INET: u8 = 2;
/// `IFF_UP` of linux/if.h.
const UP: u32 = 1;
const IFLA_NAME: u16 = 3;
const IFLA_MASTER: u16 = 10;
const IFLA_INFO: u16 = 18;
const INFO_KIND: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const RTA_OUTPUT: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const TABLE_MAIN: u8 = 254;
const PROTOCOL_STATIC: u8 = 4;
const SCOPE_UNIVERSE: u8 = 0;
const TYPE_UNICAST: u8 = 1;

/// Has the interface work.
#[must_use]
pub fn raise(index: u32) -> Vec<u8> {
    let mut message = Message::new(NEW_LINK, 0);
    message.link(index, UP);
    message.finish()
}

/// Makes a bridge with this index, at work.
#[must_use]
pub fn new_bridge(index: u32, name: &str) -> Vec<u8> {
    let mut kind = Message(Vec::new());
    kind.attribute(INFO_KIND, b"bridge");
    let mut message = Message::new(NEW_LINK, CREATE | EXCLUSIVE);
    message.link(index, UP);
    message.name(name);
    message.attribute(IFLA_INFO, &kind.0);
    message.finish()
}

/// Has the interface of this name work as a part of a bridge.
#[must_use]
pub fn attach(name: &str, bridge: u32) -> Vec<u8> {
    let mut message = Message::new(NEW_LINK, 0);
    message.link(0, UP);
    message.name(name);
    message.attribute(IFLA_MASTER, &bridge.to_ne_bytes());
    message.finish()
}

/// Gives the interface an address, the first `prefix` bits of which, 1 to 32, are the
/// network's.
#[must_use]
pub fn new_address(index: u32, address: Ipv4Addr, prefix: u8) -> Vec<u8> {
    let mut message = Message::new(NEW_ADDRESS, CREATE | EXCLUSIVE);
    message.put(&[INET, prefix, 0, SCOPE_UNIVERSE]);
    message.put(&index.to_ne_bytes());
    let host_bits = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
    let broadcast = (address.to_bits() | host_bits).to_be_bytes();
    message.attribute(IFA_LOCAL, &address.octets());
    message.attribute(IFA_ADDRESS, &address.octets());
    message.attribute(IFA_BROADCAST, &broadcast);
    message.finish()
}

/// Leads everything that has no other way through a gateway.
#[must_use]
pub fn default_route(index: u32, gateway: Ipv4Addr) -> Vec<u8> {
    let mut message = Message::new(NEW_ROUTE, CREATE | EXCLUSIVE);
    // rtmsg: a destination of no bits is every one
    message.put(&[INET, 0, 0, 0]);
    message.put(&[TABLE_MAIN, PROTOCOL_STATIC, SCOPE_UNIVERSE, TYPE_UNICAST]);
    message.put(&[0; 4]);
    message.attribute(RTA_GATEWAY, &gateway.octets());
    message.attribute(RTA_OUTPUT, &index.to_ne_bytes());
    message.finish()
}

/// What the kernel says to a request: an error message, whose number is 0 when
/// all went well.
pub fn outcome(answer: &[u8]) -> io::Result<()> {
    let strange = || io::Error::from(io::ErrorKind::InvalidData);
    let (header, payload) = answer.split_at_checked(HEADER).ok_or_else(strange)?;
    if header[4..6] != ERROR.to_ne_bytes() {
        return Err(strange());
    }
    let number = payload.first_chunk().ok_or_else(strange)?;
    match i32::from_ne_bytes(*number) {
        0 => Ok(()),
        number => Err(io::Error::from_raw_os_error(number.saturating_neg())),
    }
}

/// A request in the making.
#[derive(Debug)]
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: u16) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(REQUEST | ACKNOWLEDGE | flags).to_ne_bytes());
        Self(bytes)
    }

    fn put(&mut self, part: &[u8]) {
        self.0.extend(part);
    }

    /// `ifinfomsg`: any family, any type, and the flags to be set.
    fn link(&mut self, index: u32, flags: u32) {
        self.put(&[0; 4]);
        self.put(&index.to_ne_bytes());
        self.put(&flags.to_ne_bytes());
        self.put(&flags.to_ne_bytes());
    }

    fn name(&mut self, name: &str) {
        self.attribute(IFLA_NAME, &[name.as_bytes(), b"\0"].concat());
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        self.put(&length.to_ne_bytes());
        self.put(&kind.to_ne_bytes());
        self.put(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    /// The message with its length in front.
    fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `ip` sends them, but for the sequence number.
    #[cfg(target_endian = "little")]
    #[test]
    fn requests_are_those_of_the_kernels_headers() {
        assert_eq!(
            raise(2),
            [
                32, 0, 0, 0, 16, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, // header
                0, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0,
            ]
        );
        assert_eq!(
            new_address(2, Ipv4Addr::new(10, 0, 2, 15), 24),
            [
                48, 0, 0, 0, 20, 0, 5, 6, 0, 0, 0, 0, 0, 0, 0, 0, // header
                2, 24, 0, 0, 2, 0, 0, 0, // ifaddrmsg
                8, 0, 2, 0, 10, 0, 2, 15, 8, 0, 1, 0, 10, 0, 2, 15, //
                8, 0, 4, 0, 10, 0, 2, 255,
            ]
        );
        assert_eq!(
            default_route(2, Ipv4Addr::new(10, 0, 2, 2)),
            [
                44, 0, 0, 0, 24, 0, 5, 6, 0, 0, 0, 0, 0, 0, 0, 0, // header
                2, 0, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0, // rtmsg
                8, 0, 5, 0, 10, 0, 2, 2, 8, 0, 4, 0, 2, 0, 0, 0,
            ]
        );
        assert_eq!(
            attach("tap0", 9)[32..],
            [
                9, 0, 3, 0, b't', b'a', b'p', b'0', 0, 0, 0, 0, // name
                8, 0, 10, 0, 9, 0, 0, 0,
            ]
        );
        assert_eq!(
            new_bridge(9, "br")[32..],
            [
                7, 0, 3, 0, b'b', b'r', 0, 0, // name
                16, 0, 18, 0, 10, 0, 1, 0, b'b', b'r', b'i', b'd', b'g', b'e', 0, 0,
            ]
        );
    }

    #[test]
    fn answers_are_told_apart_and_bounded() {
        const EXISTS: i32 = 17;
        let answer = |kind: u16, number: i32| {
            let mut bytes = vec![0; HEADER];
            bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
            bytes.extend(number.to_ne_bytes());
            bytes
        };
        assert!(outcome(&answer(ERROR, 0)).is_ok());
        let refused = outcome(&answer(ERROR, -EXISTS)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        for strange in [answer(3, 0), answer(ERROR, 0)[..18].to_vec(), Vec::new()] {
            let kind = outcome(&strange).unwrap_err().kind();
            assert_eq!(kind, io::ErrorKind::InvalidData);
        }
        assert!(outcome(&answer(ERROR, i32::MIN)).is_err());
    }
}
