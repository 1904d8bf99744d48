//! The kernel's side of addresses and routes (netlink(7)).

use std::{io, os::fd::OwnedFd};

use banger_proto::rtnetlink::outcome;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink::SocketAddrNetlink, recv,
    sendto, socket_with,
};

/// A socket to it.
#[derive(Debug)]
pub(super) struct Route(OwnedFd);

impl Route {
    pub(super) fn open() -> io::Result<Self> {
        let (family, flags) = (AddressFamily::NETLINK, SocketFlags::CLOEXEC);
        // NETLINK_ROUTE is 0
        let socket = socket_with(family, SocketType::RAW, flags, None)?;
        Ok(Self(socket))
    }

    /// Sends a request and answers how it went. The answer is there as soon as
    /// the request was sent: nothing is waited for.
    pub(super) fn ask(&self, request: &[u8]) -> io::Result<()> {
        let kernel = SocketAddrNetlink::new(0, 0);
        sendto(&self.0, request, SendFlags::empty(), &kernel)?;
        let mut answer = [0; 4096];
        let (received, _) = recv(&self.0, &mut answer, RecvFlags::DONTWAIT)?;
        outcome(&answer[..received])
    }
}

#[cfg(test)]
mod tests {
    use banger_proto::rtnetlink::raise;
    use rustix::io::Errno;

    use super::*;

    /// An interface that is not there cannot be raised, whoever asks.
    #[test]
    fn the_kernel_answers_at_once() {
        let route = Route::open().unwrap();
        for _ in 0..2 {
            let refused = route.ask(&raise(0x7fff_fff0)).unwrap_err();
            let errno = Errno::from_io_error(&refused);
            assert!(
                matches!(errno, Some(Errno::NODEV | Errno::PERM)),
                "{refused}"
            );
        }
    }
}
