//! A running VMM.

use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixStream as StdUnixStream},
    process::{ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    net::UnixStream,
    process::{Child, ChildStderr, ChildStdout},
};

use super::{BackendError, ChosenBackend, Machine, qemu};
use crate::{domain::BackendKind, process::command, sys};

/// A VMM, the leader of its own process group. It is killed when this is
/// dropped, and by the kernel when the thread that spawned it ends.
#[derive(Debug)]
pub(crate) struct VmmProcess {
    child: Child,
    control: qemu::Control,
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
        let failed = |source| BackendError::Spawn {
            program: backend.program.to_string(),
            source,
        };
        let mut command = command(&backend.program);
        let (control, vmms) = control_channel().map_err(failed)?;
        let descriptors = qemu::Descriptors {
            channel: sys::inherit(&mut command, channel),
            control: sys::inherit(&mut command, vmms),
        };
        match backend.choice.kind {
            BackendKind::Qemu => {
                command.args(qemu::arguments(machine, backend.acceleration, descriptors));
            }
        }
        command
            .current_dir("/")
            .env_clear()
            .process_group(0)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        sys::die_with_parent(&mut command);
        let mut child = command.spawn().map_err(failed)?;
        let (Some(console), Some(errors)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(failed(std::io::ErrorKind::BrokenPipe.into()));
        };
        Ok((Self { child, control }, VmmOutput { console, errors }))
    }

    /// Waits for the end. May be cancelled and called again.
    pub(crate) async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Presses the machine's power button. Not to be used again when waiting
    /// for it was given up.
    pub(crate) async fn press_power_button(&mut self) -> io::Result<()> {
        self.control.press_power_button().await
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

/// A control channel: our end and the VMM's.
fn control_channel() -> io::Result<(qemu::Control, OwnedFd)> {
    let (ours, vmms) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let control = qemu::Control::new(UnixStream::from_std(ours)?);
    Ok((control, vmms.into()))
}
