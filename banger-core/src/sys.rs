//! What Rust cannot check: the moment between fork and exec, descriptors that
//! arrive by number, the CPU's own counter, and what is mapped.
//!
//! Purpose: the crate's one place for unsafe code. Invariants: code that runs
//! between fork and exec makes system calls only; a descriptor is inherited
//! by the one child it is meant for and by no other.
//! Entry points: [`start_session`], [`die_with_parent`], [`inherit`],
//! [`adopt`], [`time_stamp`], [`namespace`], [`jail`], [`mappings`],
//! [`write_back`].
#![expect(
    unsafe_code,
    reason = "pre_exec, descriptors by number, the counter and advice to the kernel have no safe form"
)]

pub(crate) mod jail;
pub(crate) mod mappings;
pub(crate) mod namespace;
pub(crate) mod write_back;

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
};

use rustix::{
    io::{Errno, FdFlags, fcntl_setfd},
    process::{Signal, getpid, getppid, set_parent_process_death_signal, setsid},
};
use tokio::process::Command;

/// Numbers below are standard input, output and error.
const FIRST_FREE_DESCRIPTOR: RawFd = 3;

/// Makes the child the leader of a session and group of its own.
pub(crate) fn start_session(command: &mut Command) {
    // SAFETY: the closure makes one system call and touches no memory.
    unsafe {
        command.pre_exec(|| Ok(setsid().map(drop)?));
    }
}

/// Has the kernel kill the child as soon as the calling thread ends, also
/// when it ended before the child could ask for it.
pub(crate) fn die_with_parent(command: &mut Command) {
    let parent = getpid();
    let ask = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        if getppid() == Some(parent) {
            return Ok(());
        }
        Err(io::Error::from(Errno::SRCH))
    };
    // SAFETY: the closure makes two system calls and allocates nothing.
    unsafe {
        command.pre_exec(ask);
    }
}

/// Lets the child, and no other one, inherit `descriptor`; answers the number
/// it has there. The descriptor is closed here with the command.
pub(crate) fn inherit(command: &mut Command, descriptor: OwnedFd) -> RawFd {
    let number = descriptor.as_raw_fd();
    let keep = move || Ok(fcntl_setfd(&descriptor, FdFlags::empty())?);
    // SAFETY: the closure makes one system call and touches no memory but the
    // descriptor it owns.
    unsafe {
        command.pre_exec(keep);
    }
    number
}

/// Takes over a descriptor that the parent handed down by [`inherit`], and
/// keeps it from this process's own children. To be called once for each
/// number, before the process opens anything.
pub(crate) fn adopt(number: RawFd) -> io::Result<OwnedFd> {
    if number < FIRST_FREE_DESCRIPTOR {
        return Err(Errno::BADF.into());
    }
    // SAFETY: it is only used for a call that fails when it is not open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl_setfd(borrowed, FdFlags::CLOEXEC)?;
    // SAFETY: it is open, and the parent left it open for this taker alone.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// The CPU's time stamp counter; none on architectures without one.
#[cfg(target_arch = "x86_64")]
#[expect(
    clippy::unnecessary_wraps,
    reason = "other architectures have no such counter"
)]
pub(crate) fn time_stamp() -> Option<u64> {
    // SAFETY: every x86-64 CPU has the instruction; it reads a counter.
    Some(unsafe { std::arch::x86_64::_rdtsc() })
}

/// The CPU's time stamp counter; none on architectures without one.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) const fn time_stamp() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use std::{io::Read as _, time::Duration};

    use super::*;
    use crate::process::{command, run};

    #[tokio::test]
    async fn only_the_chosen_child_inherits_and_leads_its_session() {
        let (mut reader, writer) = io::pipe().unwrap();
        let number = {
            let mut chosen = command("sh");
            let number = inherit(&mut chosen, writer.into());
            start_session(&mut chosen);
            chosen.args([
                "-c",
                &format!("echo from the child > /proc/self/fd/{number}; cut -d' ' -f6 /proc/$$/stat; echo $$"),
            ]);
            let output = run(chosen, Duration::from_secs(30)).await.unwrap();
            let output = String::from_utf8(output).unwrap();
            let mut ids = output.split_whitespace();
            assert_eq!(ids.next(), ids.next());
            number
        };
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "from the child\n");
        assert!(adopt(2).is_err());
        assert!(adopt(number + 4096).is_err());
    }
}
