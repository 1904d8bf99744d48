//! What systemd passes on: sockets that listen already, and where to tell how it goes
//! (sd_listen_fds(3), sd_notify(3)).
//!
//! Invariants: nothing is taken that was passed to another process; what is passed on
//! goes no further to children. Entry points: [`inherited`], [`Notifier`].

use std::{
    env,
    ffi::OsString,
    io,
    net::TcpListener,
    os::{
        fd::{FromRawFd as _, OwnedFd},
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram, UnixListener},
        },
    },
    process,
};

use rustix::{
    io::{FdFlags, fcntl_setfd},
    net::{AddressFamily, sockopt::socket_domain},
};

/// The first descriptor that is passed on.
const FIRST: i32 = 3;
/// Most that are taken.
const MOST: i32 = 16;

/// Sockets that listen already.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    pub(crate) unix: Option<UnixListener>,
    pub(crate) tcp: Vec<TcpListener>,
}

/// The sockets that were passed to this very process. Must be called before anything
/// else opens files.
pub(crate) fn inherited() -> io::Result<Inherited> {
    let count = count(
        variable("LISTEN_PID"),
        variable("LISTEN_FDS"),
        process::id(),
    );
    let mut inherited = Inherited::default();
    for number in FIRST..FIRST + count {
        #[expect(unsafe_code, reason = "descriptors are passed by their numbers")]
        // SAFETY: whoever started this process says that it passed this descriptor on, and
        // nothing in this process has opened or owns one of these numbers
        let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
        fcntl_setfd(&descriptor, FdFlags::CLOEXEC)?;
        match socket_domain(&descriptor)? {
            AddressFamily::UNIX if inherited.unix.is_none() => {
                inherited.unix = Some(descriptor.into());
            }
            AddressFamily::INET | AddressFamily::INET6 => inherited.tcp.push(descriptor.into()),
            _ => {
                let problem = "more than one Unix socket, or something else, was passed on";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
            }
        }
    }
    Ok(inherited)
}

/// How many descriptors were passed to the process `own`. Pure.
fn count(pid: Option<OsString>, count: Option<OsString>, own: u32) -> i32 {
    let number = |text: Option<OsString>| text?.to_str()?.parse::<u32>().ok();
    if number(pid) != Some(own) {
        return 0;
    }
    let count = number(count).and_then(|count| i32::try_from(count).ok());
    count.unwrap_or(0).min(MOST)
}

/// Tells systemd how it goes, if that wants to know.
#[derive(Debug)]
pub(crate) struct Notifier(Option<OsString>);

impl Notifier {
    pub(crate) fn from_environment() -> Self {
        Self(variable("NOTIFY_SOCKET").filter(|name| !name.is_empty()))
    }

    /// Tells it. Nobody waits for whether it was heard.
    pub(crate) fn tell(&self, state: &str) {
        if let Some(name) = &self.0
            && let Err(error) = send(name, state)
        {
            tracing::warn!(%error, state, "systemd could not be told");
        }
    }
}

fn send(name: &OsString, state: &str) -> io::Result<()> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[expect(
    clippy::disallowed_methods,
    reason = "what systemd passes on is the process's own affair, and no setting"
)]
fn variable(name: &str) -> Option<OsString> {
    env::var_os(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_passed_to_another_process_is_left_alone() {
        let count = |pid: &str, fds: &str| count(Some(pid.into()), Some(fds.into()), 7);
        assert_eq!(count("7", "2"), 2);
        assert_eq!(count("8", "2"), 0);
        assert_eq!(count("x", "2"), 0);
        assert_eq!(count("7", "-1"), 0);
        assert_eq!(count("7", "4000000000"), 0);
        assert_eq!(count("7", "4000"), MOST);
    }
}
