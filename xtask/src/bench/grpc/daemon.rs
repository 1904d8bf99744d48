//! The service that is measured.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::super::{host::Host, program::bangerd};
use crate::{
    Result,
    paths::{failed_at, guest_program},
    run::say,
};

/// How long it may take to listen, and to end.
const DEADLINE: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(20);

/// A service over the host's state; it is ended with the value.
#[derive(Debug)]
pub(super) struct Daemon {
    child: Child,
    socket: PathBuf,
}

impl Daemon {
    pub(super) fn start(host: &Host) -> Result<Self> {
        let log = host.directory().join("bangerd.log");
        let written = File::create(&log).map_err(failed_at(&log))?;
        let mut command = bangerd(host.directory());
        command
            .env("BANGER_GUEST_PROGRAM", guest_program())
            .env("BANGER_LOG", "warn")
            .stdin(Stdio::null())
            .stderr(written);
        let child = command
            .spawn()
            .map_err(|error| format!("the service cannot be started: {error}"))?;
        let mut daemon = Self {
            child,
            socket: host.directory().join("runtime/grpc.sock"),
        };
        daemon.wait_for_socket(&log)?;
        Ok(daemon)
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(super) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it listens; the client waits until it serves.
    fn wait_for_socket(&mut self, log: &Path) -> Result<()> {
        let begun = Instant::now();
        while !self.socket.exists() {
            let ended = self.child.try_wait().map_err(|error| error.to_string())?;
            if ended.is_some() || DEADLINE < begun.elapsed() {
                return Err(format!(
                    "the service does not listen: see {}",
                    log.display()
                ));
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).map_err(|error| error.to_string())?;
        let begun = Instant::now();
        while begun.elapsed() < DEADLINE {
            if self.child.try_wait().is_ok_and(|ended| ended.is_some()) {
                return Ok(());
            }
            thread::sleep(PAUSE);
        }
        Err("the service does not end".to_owned())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Err(problem) = self.end() {
            say(&format!("a service is killed: {problem}"));
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}
