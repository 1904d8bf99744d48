//! A VMM without banger: the bare process, with its guest's console on a pipe.

use std::{
    io,
    path::Path,
    process::{Child, ChildStdout, Stdio},
    thread::{self, JoinHandle},
};

use crate::{Result, run::command};

/// A VMM; it is killed with the value.
#[derive(Debug)]
pub(super) struct Vmm {
    child: Child,
    drain: Option<JoinHandle<()>>,
}

impl Vmm {
    /// Starts it as banger would: no environment, no standard input. Answers
    /// the guest's console, too.
    pub(super) fn spawn(arguments: &[String], directory: &Path) -> Result<(Self, ChildStdout)> {
        let (program, arguments) = arguments
            .split_first()
            .ok_or("a VMM without a command line")?;
        let mut child = command(program, directory)
            .args(arguments)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("{program} cannot be started: {error}"))?;
        let console = child.stdout.take().ok_or("a VMM without a console")?;
        Ok((Self { child, drain: None }, console))
    }

    /// Reads the console to its end, beside all else.
    pub(super) fn drain(&mut self, mut console: ChildStdout) {
        self.drain = Some(thread::spawn(move || {
            // what it says is nobody's concern, but must not hold it up
            drop(io::copy(&mut console, &mut io::sink()));
        }));
    }
}

impl Drop for Vmm {
    fn drop(&mut self) {
        // one that has ended by itself needs no more
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
        if let Some(drain) = self.drain.take() {
            drop(drain.join());
        }
    }
}
