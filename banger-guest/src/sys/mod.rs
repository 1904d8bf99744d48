//! The calls that need `unsafe`.
//!
//! Purpose: fork, exec, signals, vsock and three ioctls, each behind a safe function.
//! Invariants: this is the crate's only unsafe code and every block says why it
//! is sound; between fork and exec only async-signal-safe calls are made and
//! nothing is allocated, since other threads may hold locks.
//! Entry points: [`child::start`], [`signals`], [`fork`], [`raise_loopback`],
//! [`begin_vsock_connection`],
//! [`watch`], [`signal_when_readable`], [`freeze`], [`reseed`].
#![expect(unsafe_code, reason = "the one module with unsafe code")]

pub(crate) mod child;
pub(crate) mod signals;

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _, OwnedFd},
};

use rustix::{
    net::{AddressFamily, SocketFlags, SocketType},
    process::Pid,
};
use tokio::io::{Interest, unix::AsyncFd};

/// Of asm-generic/fcntl.h: the signal to send instead of SIGIO.
const F_SETSIG: libc::c_int = 10;
/// `_IOWR('X', 119, int)` of linux/fs.h.
const FIFREEZE: libc::c_ulong = 0xC004_5877;

/// `RNDRESEEDCRNG`, `_IO('R', 7)` of linux/random.h.
const RESEED: libc::c_ulong = 0x5207;

/// Splits the process in two: the child gets none, the parent the child's id.
/// To be called while the process has one thread.
pub(crate) fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: the caller's process has one thread, so the child may do anything.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        child => Ok(Pid::from_raw(child)),
    }
}

/// Sets the flag `IFF_UP` of the interface `lo` (netdevice(7)).
pub(crate) fn raise_loopback() -> io::Result<()> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    // SAFETY: all zeroes is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(c"lo".to_bytes()) {
        *place = byte.cast_signed();
    }
    let requests = [libc::SIOCGIFFLAGS, libc::SIOCSIFFLAGS];
    for (index, operation) in requests.into_iter().enumerate() {
        if index == 1 {
            let up = i16::try_from(libc::IFF_UP).unwrap_or(1);
            // SAFETY: the call before filled in the flags.
            unsafe { request.ifr_ifru.ifru_flags |= up };
        }
        // SAFETY: the descriptor is open and the request points to a whole ifreq.
        if unsafe { libc::ioctl(socket.as_raw_fd(), operation, &raw mut request) } == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Begins to connect to a vsock port of the host; the connection is made, or
/// has failed, when the socket can be written.
pub(crate) fn begin_vsock_connection(port: u32) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let kind = SocketType::STREAM;
    let socket = rustix::net::socket_with(AddressFamily::VSOCK, kind, flags, None)?;
    // SAFETY: all zeroes is a valid sockaddr_vm.
    let mut address: libc::sockaddr_vm = unsafe { std::mem::zeroed() };
    address.svm_family = AddressFamily::VSOCK.as_raw();
    address.svm_cid = libc::VMADDR_CID_HOST;
    address.svm_port = port;
    let size = libc::socklen_t::try_from(size_of::<libc::sockaddr_vm>()).unwrap_or_default();
    // SAFETY: the descriptor is open and the address is a whole sockaddr_vm of
    // that size.
    if unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), size) } == -1 {
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::EINPROGRESS) {
            return Err(error);
        }
    }
    Ok(socket)
}

/// Gives a descriptor to the runtime.
pub(crate) fn watch(descriptor: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is owned by the result and nothing else can close
    // or replace it before it is taken from the runtime.
    Ok(unsafe { AsyncFd::register_with_interest(descriptor, interest) }?)
}

/// Has a descriptor send a signal to this process when something can be read
/// from it.
pub(crate) fn signal_when_readable(descriptor: impl AsFd, signal: i32) -> io::Result<()> {
    let number = descriptor.as_fd().as_raw_fd();
    let own = rustix::process::getpid().as_raw_nonzero().get();
    for (command, argument) in [
        (libc::F_SETOWN, own),
        (F_SETSIG, signal),
        (libc::F_SETFL, libc::O_ASYNC | libc::O_NONBLOCK),
    ] {
        // SAFETY: the descriptor is open, and these commands take a number.
        if unsafe { libc::fcntl(number, command, argument) } == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Writes a file system's journal to its place and stops all further writes.
pub(crate) fn freeze(directory: impl AsFd) -> io::Result<()> {
    let descriptor = directory.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open; the argument is not used.
    if unsafe { libc::ioctl(descriptor, FIFREEZE, 0) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Has every generator of random numbers seeded from what was mixed in
/// (random(4)).
pub(crate) fn reseed(device: &std::fs::File) -> io::Result<()> {
    // SAFETY: the descriptor is open; the call has no argument.
    if unsafe { libc::ioctl(device.as_raw_fd(), RESEED) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
