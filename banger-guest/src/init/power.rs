//! The orderly end of the machine.

use std::{
    fs,
    os::fd::AsRawFd as _,
    process::ExitCode,
    time::{Duration, Instant},
};

use rustix::{io::Errno, mount::MountFlags, process::WaitOptions, system::RebootCommand};

use super::{boot_config::Config, root::Root, volumes};
use crate::{
    console,
    sys::{self, signals, signals::Held},
};

/// How long processes have to end by themselves.
const GRACE: Duration = Duration::from_secs(2);
/// How long killed processes may take to be gone.
const KILL_PATIENCE: Duration = Duration::from_secs(1);
/// How long the hardware may take to go off.
const POWER_PATIENCE: Duration = Duration::from_secs(5);

/// What ends the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The power goes off.
    PowerOff,
    /// A reset: the VMM ends with it, and has no power that could go off.
    Reset,
}

impl End {
    /// What the host says ends it.
    pub(super) const fn of(config: &Config) -> Self {
        if config.ends_by_reset {
            Self::Reset
        } else {
            Self::PowerOff
        }
    }

    const fn command(self) -> RebootCommand {
        match self {
            Self::PowerOff => RebootCommand::PowerOff,
            Self::Reset => RebootCommand::Restart,
        }
    }
}

/// Ends all processes, brings the disks to rest and ends the machine.
pub(super) fn off(held: Held, root: Option<Root>, end: End) -> ExitCode {
    end_processes(held);
    rustix::fs::sync();
    if let Some(root) = root {
        volumes::unmount(&root.volumes);
        settle(&root);
    }
    cut_power(held, end);
    ExitCode::FAILURE
}

/// Every process is a descendant of process 1, so none is left when it has no
/// child.
fn end_processes(held: Held) {
    for (signal, patience) in [(libc::SIGTERM, GRACE), (libc::SIGKILL, KILL_PATIENCE)] {
        signals::send_to_all(signal);
        // a stopped process takes its signal when it goes on
        signals::send_to_all(libc::SIGCONT);
        if wait_for_all(held, Instant::now() + patience) {
            return;
        }
    }
}

fn wait_for_all(held: Held, end: Instant) -> bool {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => {
                let left = end.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return false;
                }
                held.wait(Some(left));
            }
            Err(_) => return true,
        }
    }
}

/// Leaves the file system that took the writes as if it had been unmounted: it
/// cannot be while it is the root, so it is made read-only, or frozen when
/// something still holds a file. Under an overlay it has no path any more but
/// that of the descriptor.
fn settle(root: &Root) {
    let _ = rustix::mount::mount_remount("/", MountFlags::RDONLY, "");
    let path = format!("/proc/self/fd/{}", root.writable.as_raw_fd());
    let Err(errno) = rustix::mount::mount_remount(path, MountFlags::RDONLY, "") else {
        return;
    };
    if let Err(error) = sys::freeze(&root.writable) {
        console::line(format_args!(
            "the writable disk stays mounted: {}; not frozen: {error}",
            std::io::Error::from(errno)
        ));
    }
}

/// A child asks for the power to go off, since the call may never return: where
/// the hardware cannot, the kernel halts the caller while it holds the lock of
/// reboot(2). Then the magic key resets the machine, which ends it too where the
/// host does not restart it; it takes no lock.
fn cut_power(held: Held, end: End) {
    match sys::fork() {
        Ok(None) => {
            let _ = rustix::system::reboot(end.command());
            return;
        }
        Ok(Some(_)) => {
            wait_for_all(held, Instant::now() + POWER_PATIENCE);
        }
        Err(error) => console::line(format_args!("cannot fork to power off: {error}")),
    }
    console::line("power-off did not end the machine, resetting it");
    drop(fs::write("/proc/sysrq-trigger", "b"));
    let _ = rustix::system::reboot(RebootCommand::Restart);
}
