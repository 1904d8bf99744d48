//! Reading standard input as a stream that has to be whole.

use std::{io, os::fd::OwnedFd, thread};

use banger_core::vm::StreamPiece;
use bytes::Bytes;
use rustix::{
    io::Errno,
    pipe::{PipeFlags, pipe_with},
};
use tokio::sync::{mpsc, oneshot};

use super::input::is_ready;
use crate::error::CliError;

/// Most bytes read at once.
const CHUNK: usize = 64 * 1024;
/// Pieces that may wait.
const QUEUE: usize = 4;

/// While this lives, input is read.
#[derive(Debug)]
pub(crate) struct PipedInput {
    _cancel: OwnedFd,
    failure: oneshot::Receiver<io::Error>,
}

impl PipedInput {
    /// Reads input to its end. A failure to read ends it without an end.
    pub(crate) fn start(stdin: &OwnedFd) -> Result<(Self, mpsc::Receiver<StreamPiece>), CliError> {
        let stdin = stdin.try_clone().map_err(failed)?;
        let (cancelled, cancel) =
            pipe_with(PipeFlags::CLOEXEC).map_err(|error| failed(error.into()))?;
        let (sender, pieces) = mpsc::channel(QUEUE);
        let (telling, failure) = oneshot::channel();
        let thread = thread::Builder::new().name("stdin".to_owned());
        let reader = thread.spawn(move || {
            if let Err(error) = read_all(&stdin, &cancelled, &sender) {
                // nobody may be left to tell
                drop(telling.send(error));
            }
        });
        reader.map_err(failed)?;
        let input = Self {
            _cancel: cancel,
            failure,
        };
        Ok((input, pieces))
    }

    /// Why input has no end.
    pub(crate) fn failure(&mut self) -> Option<CliError> {
        let source = self.failure.try_recv().ok()?;
        Some(CliError::Input { source })
    }
}

const fn failed(source: io::Error) -> CliError {
    CliError::Setup {
        what: "the reading of standard input",
        source,
    }
}

fn read_all(
    stdin: &OwnedFd,
    cancelled: &OwnedFd,
    pieces: &mpsc::Sender<StreamPiece>,
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    while is_ready(stdin, cancelled) {
        let piece = match rustix::io::read(stdin, &mut buffer) {
            Err(Errno::INTR | Errno::AGAIN) => continue,
            Err(error) => return Err(error.into()),
            Ok(0) => StreamPiece::End,
            Ok(count) => StreamPiece::Data(Bytes::copy_from_slice(&buffer[..count])),
        };
        let last = piece == StreamPiece::End;
        if pieces.blocking_send(piece).is_err() || last {
            break;
        }
    }
    Ok(())
}
