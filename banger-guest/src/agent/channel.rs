//! The byte streams to the host, however the machine has them.

use std::{fmt, io, time::Duration};

use tokio::time::{Instant, sleep};

use super::port;
use crate::{descriptor::Descriptor, sys};

/// How often is looked or tried: the kernel tells of neither ports nor hosts.
const PERIOD: Duration = Duration::from_millis(10);
/// The same when nobody waits for the machine to boot.
const IDLE_PERIOD: Duration = Duration::from_millis(50);

/// Where the streams come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Channel {
    /// The virtio-serial port of this name, which the host opens and closes.
    Serial(String),
    /// Connections to this vsock port of the host.
    Vsock(u32),
}

/// How long is waited for the host.
#[derive(Clone, Copy, Debug)]
pub(super) enum Patience {
    /// Up to a moment.
    Until(Instant),
    /// For ever: a machine outlives its host's connections.
    Endless,
}

impl fmt::Display for Channel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serial(name) => write!(formatter, "virtio-serial port {name}"),
            Self::Vsock(port) => write!(formatter, "vsock port {port} of the host"),
        }
    }
}

impl Channel {
    /// The next stream, once the host has its side open.
    pub(super) async fn open(&self, patience: Patience) -> io::Result<Descriptor> {
        match self {
            Self::Serial(name) => port::open(name, patience).await,
            Self::Vsock(port) => connect(*port, patience).await,
        }
    }
}

impl Patience {
    /// Waits a little; fails with the complaint when there is no patience left.
    pub(super) async fn pause(self, complaint: impl FnOnce() -> String) -> io::Result<()> {
        match self {
            Self::Until(end) if end <= Instant::now() => {
                Err(io::Error::new(io::ErrorKind::TimedOut, complaint()))
            }
            Self::Until(_) => {
                sleep(PERIOD).await;
                Ok(())
            }
            Self::Endless => {
                sleep(IDLE_PERIOD).await;
                Ok(())
            }
        }
    }
}

async fn connect(port: u32, patience: Patience) -> io::Result<Descriptor> {
    loop {
        match try_to_connect(port).await {
            Ok(stream) => return Ok(stream),
            Err(error) => {
                let complaint = || format!("the host's vsock port {port}: {error}");
                patience.pause(complaint).await?;
            }
        }
    }
}

async fn try_to_connect(port: u32) -> io::Result<Descriptor> {
    let stream = Descriptor::new(sys::begin_vsock_connection(port)?)?;
    stream.connected().await?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_host_that_is_not_there_is_waited_for_and_named() {
        for (channel, name) in [
            (Channel::Vsock(1), "port 1"),
            (Channel::Serial("banger.none".to_owned()), "banger.none"),
        ] {
            let patience = Patience::Until(Instant::now() + Duration::from_millis(30));
            let refused = channel.open(patience).await.unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::TimedOut);
            assert!(refused.to_string().contains(name), "{refused}");
            assert!(channel.to_string().contains(name));
        }
    }
}
