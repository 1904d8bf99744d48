//! Ports as they are written on the command line. Pure.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU16,
    str::FromStr,
};

/// A port of the host that leads to one of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortForward {
    /// Where to listen; the port is chosen when it is 0.
    pub listen: SocketAddr,
    /// The guest's port.
    pub guest: NonZeroU16,
}

const FORM: &str = "a forwarded port is [[ADDRESS:]HOST_PORT:]GUEST_PORT";

impl FromStr for PortForward {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (before, guest) = match text.rsplit_once(':') {
            Some((before, guest)) => (Some(before), guest),
            None => (None, text),
        };
        let guest: NonZeroU16 = guest
            .parse()
            .map_err(|_| format!("{FORM}; a guest's port is a number from 1 to 65535"))?;
        let (address, host) = match before.map(|before| before.rsplit_once(':').ok_or(before)) {
            None => (None, guest.get()),
            Some(Err(host)) => (None, port(host)?),
            Some(Ok((address, host))) => (Some(address), port(host)?),
        };
        let address = address.map_or(Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)), address_of)?;
        Ok(Self {
            listen: SocketAddr::new(address, host),
            guest,
        })
    }
}

fn port(text: &str) -> Result<u16, String> {
    text.parse()
        .map_err(|_| format!("{FORM}; a host's port is a number from 0 to 65535"))
}

/// IPv6 addresses stand in brackets.
fn address_of(text: &str) -> Result<IpAddr, String> {
    let wrong =
        || format!("{FORM}; ADDRESS is an IPv4 address, an IPv6 address in brackets, or localhost");
    if text == "localhost" {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let address: IpAddr = bare.unwrap_or(text).parse().map_err(|_| wrong())?;
    if address.is_ipv6() != bare.is_some() {
        return Err(wrong());
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_have_three_forms() {
        for (text, listen, guest) in [
            ("80", "127.0.0.1:80", 80),
            ("8080:80", "127.0.0.1:8080", 80),
            ("0:80", "127.0.0.1:0", 80),
            ("0.0.0.0:1:2", "0.0.0.0:1", 2),
            ("localhost:1:2", "127.0.0.1:1", 2),
            ("[::1]:1:2", "[::1]:1", 2),
        ] {
            let expected = PortForward {
                listen: listen.parse().unwrap(),
                guest: NonZeroU16::new(guest).unwrap(),
            };
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for text in [
            "",
            "0",
            "a",
            "65536",
            "1:0",
            ":80",
            "x:1:2",
            "::1:1:2",
            "1:2:3",
            "[1.2.3.4]:1:2",
        ] {
            assert!(text.parse::<PortForward>().is_err(), "{text}");
        }
    }
}
