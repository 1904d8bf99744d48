//! Signals: sending to many, waiting for some.

use std::{io, time::Duration};

use rustix::process::Pid;

/// Highest signal number of Linux (signal(7), `SIGRTMAX`).
pub(crate) const HIGHEST: i32 = 64;

/// Sends a signal to every process but the caller, who must be process 1.
pub(crate) fn send_to_all(signal: i32) {
    // SAFETY: takes no pointers. That no process is left is no error.
    unsafe { libc::kill(-1, signal) };
}

/// Sends a signal to a process group.
pub(crate) fn send_to_group(group: Pid, signal: i32) -> io::Result<()> {
    // SAFETY: takes no pointers.
    if unsafe { libc::kill(-group.as_raw_nonzero().get(), signal) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Sends a signal to the machine's first process.
pub(crate) fn send_to_init(signal: i32) -> io::Result<()> {
    // SAFETY: takes no pointers.
    if unsafe { libc::kill(1, signal) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Signals that are held back from their handlers and waited for.
#[derive(Clone, Copy)]
pub(crate) struct Held(libc::sigset_t);

impl Held {
    /// Holds back these signals in the calling thread.
    pub(crate) fn hold(signals: &[i32]) -> Self {
        let mut set = none();
        for signal in signals {
            // SAFETY: the set is initialised.
            unsafe { libc::sigaddset(&raw mut set, *signal) };
        }
        mask(&set);
        Self(set)
    }

    /// Waits until one of them arrives; none when time runs out first.
    pub(crate) fn wait(&self, patience: Option<Duration>) -> Option<i32> {
        let time = patience.map(|patience| libc::timespec {
            tv_sec: libc::time_t::try_from(patience.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: patience.subsec_nanos().into(),
        });
        let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: the set is initialised, no details are asked for, and the
        // time is null or outlives the call.
        let signal = unsafe { libc::sigtimedwait(&raw const self.0, std::ptr::null_mut(), time) };
        (0 < signal).then_some(signal)
    }
}

/// Holds back no signal in the calling thread any more.
pub(crate) fn release_all() {
    mask(&none());
}

/// Gives every signal its default action and holds none back.
/// Async-signal-safe: for a child between fork and exec.
pub(super) fn reset() {
    // the kernel's `struct sigaction` of all zeroes is SIG_DFL without flags. By
    // the system call, since the C library keeps two signals to itself
    let default = [0_u64; 4];
    for signal in 1..=HIGHEST {
        // SAFETY: the action is as large as the kernel's structure on every
        // 64-bit architecture, and the mask is 8 bytes. KILL and STOP refuse.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                std::ptr::null_mut::<u64>(),
                size_of::<u64>(),
            )
        };
    }
    release_all();
}

fn none() -> libc::sigset_t {
    // SAFETY: all zeroes is a valid set, and the call initialises it anyway.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        set
    }
}

fn mask(set: &libc::sigset_t) {
    // SAFETY: the set is initialised; the old one is not asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, set, std::ptr::null_mut()) };
}
