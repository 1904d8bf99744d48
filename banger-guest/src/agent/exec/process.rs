//! A started process: waiting for it, signalling it, reaping it.
//!
//! Invariant: its group is signalled only while the process is not reaped, so
//! its number still means this process.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use banger_proto::guest::v1::{ExecExit, exec_exit::Outcome};
use rustix::{
    pipe::PipeFlags,
    process::{Pid, PidfdFlags, WaitOptions},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::timeout,
};

use super::{failure::SpawnError, request::Command};
use crate::{
    descriptor::Descriptor,
    sys::{
        self,
        child::{self, Fault, REPORT, Streams},
        signals,
    },
};

/// How long a new process may take to run its program.
const START_PATIENCE: Duration = Duration::from_mins(1);
/// How long a process has between the hang-up and the kill.
const HANG_UP_GRACE: Duration = Duration::from_millis(500);
/// How long a killed process may take to be gone.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// A running process, the leader of its group.
#[derive(Debug)]
pub(super) struct Process {
    pid: Pid,
    descriptor: AsyncFd<OwnedFd>,
    reaped: AtomicBool,
}

impl Process {
    /// Starts a process and waits until its program runs. Not to be cancelled:
    /// the process would not be reaped.
    pub(super) async fn start(command: &Command, streams: Streams) -> Result<Self, SpawnError> {
        let pipe = rustix::pipe::pipe_with(PipeFlags::CLOEXEC);
        let (report, child_report) =
            pipe.map_err(|errno| SpawnError::resources("make a pipe")(errno.into()))?;
        let report = Descriptor::new(report).map_err(SpawnError::resources("watch a pipe"))?;
        let pid = child::start(&command.plan, &streams, child_report.as_fd())
            .map_err(SpawnError::resources("make a process"))?;
        drop((child_report, streams));
        let process = Self::watch(pid)?;
        match timeout(START_PATIENCE, read_report(&report)).await {
            Ok(None) => Ok(process),
            Ok(Some(fault)) => {
                process.kill().await;
                let (program, directory) = (command.program(), command.directory());
                Err(SpawnError::of_fault(fault, program, directory))
            }
            Err(_) => {
                process.kill().await;
                let late = io::Error::from(io::ErrorKind::TimedOut);
                Err(SpawnError::resources("run the program")(late))
            }
        }
    }

    fn watch(pid: Pid) -> Result<Self, SpawnError> {
        let descriptor = rustix::process::pidfd_open(pid, PidfdFlags::empty())
            .map_err(io::Error::from)
            .and_then(|descriptor| sys::watch(descriptor, Interest::READABLE));
        match descriptor {
            Ok(descriptor) => Ok(Self {
                pid,
                descriptor,
                reaped: AtomicBool::new(false),
            }),
            Err(error) => {
                // a killed child is gone at once: this wait is short
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                let _ = rustix::process::waitpid(Some(pid), WaitOptions::empty());
                Err(SpawnError::resources("watch the process")(error))
            }
        }
    }

    /// Its id.
    pub(super) fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// Signals the whole group. A process that is gone gets nothing.
    pub(super) fn signal(&self, signal: i32) {
        if !self.is_reaped() {
            drop(signals::send_to_group(self.pid, signal));
        }
    }

    /// Waits for the end without reaping. May be dropped.
    pub(super) async fn ended(&self) {
        // a process descriptor that cannot be watched counts as readable: the
        // reaping tells the truth
        drop(self.descriptor.readable().await);
    }

    /// Reaps the process after its end.
    pub(super) fn reap(&self) -> ExecExit {
        self.reaped.store(true, Ordering::Relaxed);
        let waited = rustix::process::waitpid(Some(self.pid), WaitOptions::NOHANG);
        let outcome = waited.ok().flatten().and_then(|(_, status)| {
            let code = status.exit_status().map(i32::cast_unsigned);
            let signal = status.terminating_signal().map(i32::cast_unsigned);
            code.map(Outcome::Code)
                .or_else(|| signal.map(Outcome::Signal))
        });
        ExecExit { outcome }
    }

    /// Whether it is gone.
    pub(super) fn is_reaped(&self) -> bool {
        self.reaped.load(Ordering::Relaxed)
    }

    /// Hangs up, then kills the group, and leaves the reaping to others.
    pub(super) async fn end(&self) {
        self.signal(libc::SIGHUP);
        // a stopped process takes its signal when it goes on
        self.signal(libc::SIGCONT);
        drop(timeout(HANG_UP_GRACE, self.ended()).await);
        self.signal(libc::SIGKILL);
    }

    /// Kills a process that nobody waits for, and reaps it.
    async fn kill(&self) {
        self.signal(libc::SIGKILL);
        if timeout(KILL_PATIENCE, self.ended()).await.is_ok() {
            self.reap();
        }
    }
}

/// None when the program runs: the pipe closed without a report.
async fn read_report(report: &Descriptor) -> Option<Fault> {
    let mut bytes = [0; REPORT];
    // a report is written at once and is shorter than a pipe's atomic size
    match report.read(&mut bytes).await {
        Ok(REPORT) => Some(Fault::parse(bytes)),
        _ => None,
    }
}
