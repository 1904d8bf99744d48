//! A running VMM.

use std::{
    os::fd::OwnedFd,
    process::{ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, ChildStderr, ChildStdout};

use super::{BackendError, ChosenBackend, Machine, qemu};
use crate::{domain::BackendKind, process::command, sys};

/// A VMM, the leader of its own process group. It is killed when this is
/// dropped, and by the kernel when the thread that spawned it ends.
#[derive(Debug)]
pub(crate) struct VmmProcess {
    child: Child,
}

/// What a VMM says.
#[derive(Debug)]
pub(crate) struct VmmOutput {
    /// The guest's serial console.
    pub(crate) console: ChildStdout,
    /// The VMM's own complaints.
    pub(crate) errors: ChildStderr,
}

impl VmmProcess {
    /// Starts a machine whose channel ends in `channel`. To be called on a
    /// thread that lives as long as the machine shall.
    pub(crate) fn spawn(
        machine: &Machine,
        backend: &ChosenBackend,
        channel: OwnedFd,
    ) -> Result<(Self, VmmOutput), BackendError> {
        let mut command = command(&backend.program);
        let descriptor = sys::inherit(&mut command, channel);
        match backend.choice.kind {
            BackendKind::Qemu => {
                command.args(qemu::arguments(machine, backend.acceleration, descriptor));
            }
        }
        command
            .current_dir("/")
            .env_clear()
            .process_group(0)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        sys::die_with_parent(&mut command);
        let failed = |source| BackendError::Spawn {
            program: backend.program.to_string(),
            source,
        };
        let mut child = command.spawn().map_err(failed)?;
        let (Some(console), Some(errors)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(failed(std::io::ErrorKind::BrokenPipe.into()));
        };
        Ok((Self { child }, VmmOutput { console, errors }))
    }

    /// Waits for the end. May be cancelled and called again.
    pub(crate) async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Sends a signal to the VMM's whole group, unless it has ended.
    pub(crate) fn signal(&self, signal: Signal) {
        // an id is only known while the child has not been waited for, so the
        // number cannot belong to anybody else
        let group = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(group) = group.and_then(Pid::from_raw)
            && let Err(error) = kill_process_group(group, signal)
        {
            tracing::debug!(%error, "the VMM could not be signalled");
        }
    }
}
