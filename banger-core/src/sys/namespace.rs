//! A network namespace of a child's own, made between fork and exec.
//!
//! Invariants: everything the child needs is laid ready before the fork; it makes
//! system calls only. A step that fails is reported by its number and the
//! kernel's, since the way back from there has room for nothing else.
//! Entry point: [`enter_network`].

use std::{
    ffi::CStr,
    io::{self, PipeReader, Read as _},
    os::fd::{AsFd as _, OwnedFd},
};

use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    io::{Errno, write},
    ioctl::{IntegerSetter, Setter, ioctl},
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink::SocketAddrNetlink,
        recv, sendto, socket_with,
    },
    pipe::{PipeFlags, pipe_with},
    thread::{UnshareFlags, unshare_unsafe},
};
use tokio::process::Command;

/// `TUNSETIFF` and `TUNSETPERSIST` of linux/if_tun.h.
const SET_INTERFACE: u32 = 0x4004_54ca;
const SET_PERSISTENT: u32 = 0x4004_54cb;
/// `IFF_TAP`, `IFF_NO_PI` and `IFF_TUN_EXCL`: frames as they are, and no
/// interface that is there already.
const NEW_TAP: u16 = 0x0002 | 0x1000 | 0x8000;
/// Longest name of an interface, with the NUL at its end.
const NAME_LIMIT: usize = 16;

/// What a child shall find around it.
#[derive(Clone, Debug)]
pub(crate) struct NetworkNamespace {
    /// In a user namespace too, with this identity in it: lets those who have
    /// no privilege make the other one.
    pub(crate) identity: Option<Identity>,
    /// Interfaces whose other ends are programs; they stay when nobody has them
    /// open.
    pub(crate) taps: Vec<Tap>,
    /// Requests of rtnetlink(7), each of which must succeed.
    pub(crate) requests: Vec<Vec<u8>>,
}

/// The lines of user_namespaces(7) that keep a user's and a group's own ids.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    user: Vec<u8>,
    group: Vec<u8>,
}

impl Identity {
    /// The ids of this process, under which a program without capabilities runs
    /// on without any.
    pub(crate) fn own() -> Self {
        let line = |id: u32| format!("{id} {id} 1\n").into_bytes();
        Self {
            user: line(rustix::process::geteuid().as_raw()),
            group: line(rustix::process::getegid().as_raw()),
        }
    }
}

/// A tap interface in the kernel's form (`struct ifreq` of linux/if.h).
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Tap {
    name: [u8; NAME_LIMIT],
    flags: u16,
    padding: [u8; 22],
}

impl Tap {
    /// One with this name, which is cut to what the kernel takes.
    pub(crate) fn new(name: &str) -> Self {
        let mut padded = [0; NAME_LIMIT];
        for (place, byte) in padded[..NAME_LIMIT - 1].iter_mut().zip(name.bytes()) {
            *place = byte;
        }
        Self {
            name: padded,
            flags: NEW_TAP,
            padding: [0; 22],
        }
    }
}

/// A step of the making.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum NamespaceStep {
    /// The namespaces themselves.
    Namespaces = 1,
    /// The ids in them.
    Identity = 2,
    /// The tap interfaces.
    Taps = 3,
    /// Everything else about interfaces.
    Interfaces = 4,
}

/// Where a child tells which step failed.
#[derive(Debug)]
pub(crate) struct NamespaceReport(PipeReader);

impl NamespaceReport {
    /// The step that failed; none when the making was not begun or went well.
    pub(crate) fn failure(&mut self) -> Option<(NamespaceStep, io::Error)> {
        let mut report = [0; 5];
        self.0.read_exact(&mut report).ok()?;
        let [step, errno @ ..] = report;
        let step = match step {
            1 => NamespaceStep::Namespaces,
            2 => NamespaceStep::Identity,
            3 => NamespaceStep::Taps,
            _ => NamespaceStep::Interfaces,
        };
        let errno = i32::from_ne_bytes(errno);
        Some((step, io::Error::from_raw_os_error(errno)))
    }
}

/// Has the child make namespaces of its own and live in them.
pub(crate) fn enter_network(
    command: &mut Command,
    namespace: NetworkNamespace,
) -> io::Result<NamespaceReport> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    let enter = move || {
        make(&namespace).map_err(|(step, errno)| {
            tell(&writer, step, errno);
            io::Error::from(errno)
        })
    };
    // SAFETY: the closure makes system calls and allocates nothing; what it
    // borrows was made before the fork.
    unsafe {
        command.pre_exec(enter);
    }
    Ok(NamespaceReport(reader.into()))
}

fn tell(writer: &OwnedFd, step: NamespaceStep, errno: Errno) {
    let [a, b, c, d] = errno.raw_os_error().to_ne_bytes();
    // the caller knows that something failed, if not this
    let _ = write(writer, &[step as u8, a, b, c, d]);
}

fn make(namespace: &NetworkNamespace) -> Result<(), (NamespaceStep, Errno)> {
    let at = |step| move |errno| (step, errno);
    let mut flags = UnshareFlags::NEWNET;
    if namespace.identity.is_some() {
        flags |= UnshareFlags::NEWUSER;
    }
    // SAFETY: the descriptor table, which others could rely on, stays shared.
    unsafe { unshare_unsafe(flags) }.map_err(at(NamespaceStep::Namespaces))?;
    if let Some(identity) = &namespace.identity {
        keep(identity).map_err(at(NamespaceStep::Identity))?;
    }
    for tap in &namespace.taps {
        make_tap(*tap).map_err(at(NamespaceStep::Taps))?;
    }
    ask_all(&namespace.requests).map_err(at(NamespaceStep::Interfaces))
}

/// In this order: who may not set groups may map its own.
fn keep(identity: &Identity) -> Result<(), Errno> {
    put(c"/proc/self/setgroups", b"deny")?;
    put(c"/proc/self/uid_map", &identity.user)?;
    put(c"/proc/self/gid_map", &identity.group)
}

fn put(path: &CStr, content: &[u8]) -> Result<(), Errno> {
    let file = openat(CWD, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    write(&file, content).map(drop)
}

fn make_tap(tap: Tap) -> Result<(), Errno> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let device = openat(CWD, c"/dev/net/tun", flags, Mode::empty())?;
    // SAFETY: the kernel reads a whole ifreq, which Tap is.
    unsafe { ioctl(&device, Setter::<SET_INTERFACE, Tap>::new(tap)) }?;
    // SAFETY: the request takes a number.
    unsafe { ioctl(&device, IntegerSetter::<SET_PERSISTENT>::new_usize(1)) }
}

fn ask_all(requests: &[Vec<u8>]) -> Result<(), Errno> {
    let (family, flags) = (AddressFamily::NETLINK, SocketFlags::CLOEXEC);
    // NETLINK_ROUTE is 0
    let socket = socket_with(family, SocketType::RAW, flags, None)?;
    for request in requests {
        let kernel = SocketAddrNetlink::new(0, 0);
        sendto(socket.as_fd(), request, SendFlags::empty(), &kernel)?;
        let mut answer = [0; 4096];
        // it is there as soon as the request was sent
        let (received, _) = recv(&socket, &mut answer, RecvFlags::DONTWAIT)?;
        if let Err(error) = banger_proto::rtnetlink::outcome(&answer[..received]) {
            return Err(Errno::from_io_error(&error).unwrap_or(Errno::PROTO));
        }
    }
    Ok(())
}
