//! How a machine reaches the network, and how others reach it.

use std::{fmt, net::Ipv4Addr, num::NonZeroU16, str::FromStr};

/// The form of a published port, as users write it.
const GRAMMAR: &str = "[[ADDRESS:]HOST:]GUEST[/tcp|udp]";
/// Longest part of a wrong text that is quoted.
const QUOTE: usize = 100;

/// What network a machine has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NetworkMode {
    /// The loopback interface and nothing else.
    None,
    /// What the host's user reaches, through sockets of that user: needs no
    /// privilege, and nobody reaches the machine but through published ports.
    #[default]
    User,
}

impl NetworkMode {
    /// Every mode.
    pub const ALL: [Self; 2] = [Self::None, Self::User];

    /// The mode's name, as users write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::User => "user",
        }
    }
}

/// What is carried over a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PortProtocol {
    /// TCP connections.
    Tcp,
    /// UDP datagrams.
    Udp,
}

impl PortProtocol {
    /// The protocol's name, as users write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// A port of the host that leads to a port of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PublishedPort {
    /// The host's address it is bound to; `0.0.0.0` is every one.
    pub address: Ipv4Addr,
    /// The host's port; 0 asks for any free one.
    pub host: u16,
    /// The machine's port.
    pub guest: NonZeroU16,
    /// What is carried.
    pub protocol: PortProtocol,
}

impl PublishedPort {
    /// Whether the two cannot be bound at the same time, or say the same.
    #[must_use]
    pub fn clashes_with(&self, other: &Self) -> bool {
        let one_address = self.address == other.address
            || self.address.is_unspecified()
            || other.address.is_unspecified();
        let one_place =
            self.protocol == other.protocol && self.host == other.host && self.host != 0;
        self == other || (one_place && one_address)
    }

    /// `ADDRESS:PORT/PROTOCOL` of the host's side.
    #[must_use]
    pub fn host_side(&self) -> String {
        let (address, host, protocol) = (self.address, self.host, self.protocol.as_str());
        format!("{address}:{host}/{protocol}")
    }
}

impl fmt::Display for PublishedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, host, guest) = (self.address, self.host, self.guest);
        write!(f, "{address}:{host}:{guest}/{}", self.protocol.as_str())
    }
}

/// A text that is no published port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("port {text:?} is not {GRAMMAR}: {problem}")]
pub struct PortParseError {
    text: String,
    problem: String,
}

impl FromStr for PublishedPort {
    type Err = PortParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map_err(|problem| PortParseError {
            text: text.chars().take(QUOTE).collect(),
            problem,
        })
    }
}

fn parse(text: &str) -> Result<PublishedPort, String> {
    let (ports, protocol) = match text.rsplit_once('/') {
        Some((ports, protocol)) => (ports, parse_protocol(protocol)?),
        None => (text, PortProtocol::Tcp),
    };
    if ports.contains('[') {
        return Err("addresses are IPv4".to_owned());
    }
    let pieces: Vec<&str> = ports.split(':').collect();
    let (address, host, guest) = match pieces[..] {
        [guest] => (None, None, guest),
        [host, guest] => (None, Some(host), guest),
        [address, host, guest] => (Some(address), Some(host), guest),
        _ => return Err("it has too many colons".to_owned()),
    };
    Ok(PublishedPort {
        address: address.map_or(Ok(Ipv4Addr::LOCALHOST), parse_address)?,
        host: parse_host(address.is_some(), host)?,
        guest: parse_guest(guest)?,
        protocol,
    })
}

fn parse_protocol(text: &str) -> Result<PortProtocol, String> {
    let known = [PortProtocol::Tcp, PortProtocol::Udp];
    let found = known
        .into_iter()
        .find(|protocol| protocol.as_str().eq_ignore_ascii_case(text));
    found.ok_or_else(|| format!("protocol {text:?} is neither tcp nor udp"))
}

fn parse_address(text: &str) -> Result<Ipv4Addr, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is not an IPv4 address"))
}

/// With an address before it, the host's port may be left out.
fn parse_host(follows_address: bool, text: Option<&str>) -> Result<u16, String> {
    match text {
        None => Ok(0),
        Some("") if follows_address => Ok(0),
        Some(text) if !follows_address && text.parse::<Ipv4Addr>().is_ok() => Err(format!(
            "write {text}::GUEST for any free port of that address"
        )),
        Some(text) => number(text, "host"),
    }
}

fn parse_guest(text: &str) -> Result<NonZeroU16, String> {
    let port = number(text, "guest")?;
    NonZeroU16::new(port).ok_or_else(|| "the guest's port is not 0".to_owned())
}

/// Digits alone: `+80` and the like are no ports.
fn number(text: &str, whose: &str) -> Result<u16, String> {
    if text.contains('-') {
        return Err("a range cannot be given: publish each of its ports".to_owned());
    }
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let port = digits.then(|| text.parse().ok()).flatten();
    port.ok_or_else(|| format!("the {whose}'s port {text:?} is not a number up to 65535"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        text.parse::<PublishedPort>().unwrap().to_string()
    }

    #[test]
    fn ports_are_written_as_for_docker_and_stay_on_loopback() {
        for (text, expected) in [
            ("80", "127.0.0.1:0:80/tcp"),
            ("8080:80", "127.0.0.1:8080:80/tcp"),
            ("0:80/udp", "127.0.0.1:0:80/udp"),
            ("0.0.0.0:8080:80/TCP", "0.0.0.0:8080:80/tcp"),
            ("127.0.0.2::53/udp", "127.0.0.2:0:53/udp"),
            ("65535:65535", "127.0.0.1:65535:65535/tcp"),
        ] {
            assert_eq!(canonical(text), expected, "{text}");
            assert_eq!(canonical(expected), expected);
        }
    }

    #[test]
    fn what_is_no_port_is_refused_with_the_reason() {
        for (text, problem) in [
            ("", "the guest's port \"\" is not a number"),
            ("0", "the guest's port is not 0"),
            ("8080:0", "the guest's port is not 0"),
            (":80", "the host's port \"\" is not a number"),
            ("65536:80", "the host's port \"65536\" is not a number"),
            ("+80", "the guest's port \"+80\""),
            ("80/sctp", "protocol \"sctp\" is neither tcp nor udp"),
            ("8000-8010:80", "publish each of its ports"),
            ("127.0.0.1:80", "write 127.0.0.1::GUEST for any free port"),
            ("localhost:80:80", "\"localhost\" is not an IPv4 address"),
            ("[::1]:80:80", "addresses are IPv4"),
            ("1:2:3:4", "too many colons"),
        ] {
            let refused = text.parse::<PublishedPort>().unwrap_err().to_string();
            assert!(refused.contains(problem), "{text}: {refused}");
            assert!(refused.contains(GRAMMAR), "{text}: {refused}");
        }
    }

    #[test]
    fn clashes_are_told_from_neighbours() {
        for (one, other, clash) in [
            ("8080:80", "8080:81", true),
            ("8080:80", "0.0.0.0:8080:81", true),
            ("8080:80", "127.0.0.2:8080:80", false),
            ("8080:80", "8080:80/udp", false),
            ("8080:80", "8081:80", false),
            ("80", "80", true),
            ("80", "81", false),
        ] {
            let parsed = |text: &str| text.parse::<PublishedPort>().unwrap();
            let clashes = parsed(one).clashes_with(&parsed(other));
            assert_eq!(clashes, clash, "{one} {other}");
            assert_eq!(parsed(other).clashes_with(&parsed(one)), clash);
        }
    }
}
