//! Host ports that a VMM is about to bind.
//!
//! VMMs tell badly why a port cannot be bound, and cannot choose one. So each
//! is bound here first. A bound TCP socket that does not listen keeps everybody
//! away but one who sets `SO_REUSEADDR` and names the port, as slirp does; those
//! of UDP must be let go of before, which leaves others a few milliseconds.

use std::{
    io,
    net::{SocketAddr, SocketAddrV4},
    os::fd::OwnedFd,
};

use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with,
    sockopt::set_socket_reuseaddr,
};

use crate::domain::{PortProtocol, PublishedPort};

/// Ports that can be bound by whoever is started next.
#[derive(Debug)]
pub(crate) struct Reservation {
    ports: Vec<PublishedPort>,
    _sockets: Vec<OwnedFd>,
}

/// A port that cannot be bound.
#[derive(Debug)]
pub(crate) struct PortRefused {
    pub(crate) port: PublishedPort,
    pub(crate) source: io::Error,
}

impl Reservation {
    /// The ports in their order, each with a host's port.
    pub(crate) fn ports(&self) -> &[PublishedPort] {
        &self.ports
    }
}

/// Finds out whether the wanted ports can be bound. Where any free one is
/// asked for, it is the one that was bound before, if it is still free.
pub(crate) fn reserve(
    wanted: &[PublishedPort],
    before: &[PublishedPort],
) -> Result<Reservation, PortRefused> {
    let mut ports = Vec::with_capacity(wanted.len());
    let mut sockets = Vec::with_capacity(wanted.len());
    for port in wanted {
        let (host, socket) = bind_like(port, before).map_err(|source| PortRefused {
            port: *port,
            source,
        })?;
        ports.push(PublishedPort { host, ..*port });
        sockets.push((port.protocol, socket));
    }
    sockets.retain(|(protocol, _)| *protocol == PortProtocol::Tcp);
    Ok(Reservation {
        ports,
        _sockets: sockets.into_iter().map(|(_, socket)| socket).collect(),
    })
}

fn bind_like(port: &PublishedPort, before: &[PublishedPort]) -> io::Result<(u16, OwnedFd)> {
    let same = |last: &&PublishedPort| PublishedPort { host: 0, ..**last } == *port;
    let last = before.iter().find(same);
    let again = last.and_then(|last| bind_port(last).ok());
    again.map_or_else(|| bind_port(port), Ok)
}

fn bind_port(port: &PublishedPort) -> io::Result<(u16, OwnedFd)> {
    let kind = match port.protocol {
        PortProtocol::Tcp => SocketType::STREAM,
        PortProtocol::Udp => SocketType::DGRAM,
    };
    let socket = socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC, None)?;
    if port.protocol == PortProtocol::Tcp {
        set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &SocketAddrV4::new(port.address, port.host))?;
    let bound = SocketAddr::try_from(getsockname(&socket)?)?;
    Ok((bound.port(), socket))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    fn port(text: &str) -> PublishedPort {
        text.parse().unwrap()
    }

    #[test]
    fn any_free_port_is_found_and_found_again() {
        let wanted = [port("80"), port("80/udp"), port("81")];
        let first = reserve(&wanted, &[]).unwrap();
        let ports = first.ports().to_vec();
        assert!(ports.iter().all(|port| port.host != 0), "{ports:?}");
        drop(first);
        assert_eq!(reserve(&wanted, &ports).unwrap().ports(), ports);
        let taken = TcpListener::bind((ports[0].address, ports[0].host)).unwrap();
        let other = reserve(&wanted, &ports).unwrap();
        assert_ne!(other.ports()[0], ports[0], "{taken:?}");
        assert_eq!(other.ports()[1..], ports[1..]);
    }

    #[test]
    fn what_a_reservation_holds_can_be_bound_by_a_server() {
        let held = reserve(&[port("80"), port("80/udp")], &[]).unwrap();
        let [tcp, udp] = held.ports() else {
            panic!("two ports");
        };
        TcpListener::bind((tcp.address, tcp.host)).unwrap();
        UdpSocket::bind((udp.address, udp.host)).unwrap();
        reserve(&[*tcp], &[]).unwrap();
    }

    #[test]
    fn a_port_that_cannot_be_bound_is_named_with_the_reason() {
        let (tcp, udp) = (
            TcpListener::bind("127.0.0.1:0").unwrap(),
            UdpSocket::bind("127.0.0.1:0").unwrap(),
        );
        let number = |address: io::Result<SocketAddr>| address.unwrap().port();
        for (text, kind) in [
            (
                format!("{}:80", number(tcp.local_addr())),
                io::ErrorKind::AddrInUse,
            ),
            (
                format!("{}:80/udp", number(udp.local_addr())),
                io::ErrorKind::AddrInUse,
            ),
            // TEST-NET-1 (RFC 5737) is nobody's
            ("192.0.2.1:0:80".to_owned(), io::ErrorKind::AddrNotAvailable),
        ] {
            let wanted = [port("80"), port(&text)];
            let refused = reserve(&wanted, &[]).unwrap_err();
            assert_eq!(refused.port, wanted[1]);
            assert_eq!(refused.source.kind(), kind, "{text}");
        }
    }
}
