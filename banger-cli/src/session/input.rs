//! Reading standard input for a guest's command.
//!
//! A thread of its own reads: regular files cannot be polled asynchronously,
//! and making a terminal non-blocking would do so for every program on it.
//! It waits on the input and on a pipe whose closing ends it, so that it never
//! takes a key that was meant for what runs after the command.

use std::{io, os::fd::OwnedFd, thread};

use banger_core::vm::ExecControl;
use bytes::Bytes;
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    pipe::{PipeFlags, pipe_with},
};
use tokio::sync::mpsc;

use crate::error::CliError;

/// Most bytes read at once.
const CHUNK: usize = 64 * 1024;

/// While this lives, input is passed on.
#[derive(Debug)]
pub(super) struct Input {
    _cancel: OwnedFd,
}

impl Input {
    /// Passes input on, then its end. Sending waits for the guest.
    pub(super) fn start(
        stdin: &OwnedFd,
        control: mpsc::Sender<ExecControl>,
    ) -> Result<Self, CliError> {
        let stdin = stdin.try_clone().map_err(failed)?;
        let (cancelled, cancel) =
            pipe_with(PipeFlags::CLOEXEC).map_err(|error| failed(error.into()))?;
        let thread = thread::Builder::new().name("stdin".to_owned());
        let reader = thread.spawn(move || read_all(&stdin, &cancelled, &control));
        reader.map_err(failed)?;
        Ok(Self { _cancel: cancel })
    }
}

fn failed(source: io::Error) -> CliError {
    CliError::Setup {
        what: "the reading of standard input",
        source,
    }
}

fn read_all(stdin: &OwnedFd, cancelled: &OwnedFd, control: &mpsc::Sender<ExecControl>) {
    let mut buffer = vec![0; CHUNK];
    while is_ready(stdin, cancelled) {
        let message = match rustix::io::read(stdin, &mut buffer) {
            Err(Errno::INTR | Errno::AGAIN) => continue,
            // a terminal that went away reads as an error
            Ok(0) | Err(_) => ExecControl::CloseStdin,
            Ok(count) => ExecControl::Stdin(Bytes::copy_from_slice(&buffer[..count])),
        };
        let last = message == ExecControl::CloseStdin;
        if control.blocking_send(message).is_err() || last {
            return;
        }
    }
}

/// Waits until there is input; false when there shall be no more.
pub(super) fn is_ready(stdin: &OwnedFd, cancelled: &OwnedFd) -> bool {
    let mut files = [
        PollFd::new(stdin, PollFlags::IN),
        PollFd::new(cancelled, PollFlags::IN),
    ];
    loop {
        match poll(&mut files, None) {
            Err(Errno::INTR) => {}
            Err(_) => return false,
            Ok(_) => return files[1].revents().is_empty(),
        }
    }
}
