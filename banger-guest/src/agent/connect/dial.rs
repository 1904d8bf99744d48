//! Opening a connection.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use banger_proto::guest::v1::ConnectStart;
use tokio::{net::TcpStream, time::timeout};

use super::ConnectError;

/// How long an address may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Connects to the first of the request's addresses that answers; the failure
/// is that of the first.
pub(super) async fn dial(start: &ConnectStart) -> Result<TcpStream, ConnectError> {
    let mut failure = None;
    for address in addresses(start)? {
        let connected = timeout(PATIENCE, TcpStream::connect(address)).await;
        match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => {
                // small messages go at once, as on the host's side
                stream.set_nodelay(true).ok();
                return Ok(stream);
            }
            Err(source) => {
                let address = address.to_string();
                failure.get_or_insert(ConnectError::Address { address, source });
            }
        }
    }
    Err(failure.unwrap_or(ConnectError::Invalid("there is no address")))
}

fn addresses(start: &ConnectStart) -> Result<Vec<SocketAddr>, ConnectError> {
    let port = u16::try_from(start.port).unwrap_or(0);
    if port == 0 {
        return Err(ConnectError::Invalid("a port is a number from 1 to 65535"));
    }
    let hosts: Vec<IpAddr> = if start.host.is_empty() {
        vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
    } else {
        let host = start.host.parse();
        vec![host.map_err(|_| ConnectError::Invalid("a host is an IP address"))?]
    };
    let socket = |host| SocketAddr::new(host, port);
    Ok(hosts.into_iter().map(socket).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(host: &str, port: u32) -> ConnectStart {
        ConnectStart {
            host: host.to_owned(),
            port,
        }
    }

    #[test]
    fn an_empty_host_is_both_loopback_addresses() {
        let texts = |host, port| -> Option<Vec<String>> {
            let addresses = addresses(&start(host, port)).ok()?;
            Some(addresses.iter().map(ToString::to_string).collect())
        };
        let both = ["127.0.0.1:80".to_owned(), "[::1]:80".to_owned()];
        assert_eq!(texts("", 80), Some(both.to_vec()));
        assert_eq!(texts("10.0.0.1", 1), Some(vec!["10.0.0.1:1".to_owned()]));
        for (host, port) in [("", 0), ("", 65_536), ("name", 80), ("1.2.3.4:5", 80)] {
            assert_eq!(texts(host, port), None, "{host} {port}");
        }
    }

    #[tokio::test]
    async fn a_port_without_a_server_refuses() {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(dial(&start("127.0.0.1", port.into())).await.is_ok());
        drop(listener);
        let refused = dial(&start("127.0.0.1", port.into())).await.unwrap_err();
        let text = refused.to_string();
        assert!(text.starts_with(&format!("127.0.0.1:{port}: ")), "{text}");
    }
}
