//! A process's standard streams: three pipes, or one terminal.

use std::{io, os::fd::OwnedFd, sync::Arc};

use banger_proto::guest::v1::TerminalSize;
use rustix::{
    io::Errno,
    pipe::PipeFlags,
    process::{Gid, Uid},
    pty::OpenptFlags,
    termios::Winsize,
};

use crate::{
    descriptor::Descriptor,
    sys::child::{Identity, Streams},
};

/// Ctrl-D, the default `VEOF` of a terminal (termios(3)).
const END_OF_INPUT: u8 = 4;

/// The agent's side of the streams.
#[derive(Debug)]
pub(super) struct Stdio {
    /// Standard input.
    pub(super) input: Input,
    /// Standard output, or all output of a terminal.
    pub(super) output: Arc<Descriptor>,
    /// Standard error, unless there is a terminal.
    pub(super) error: Option<Arc<Descriptor>>,
    /// The terminal, if there is one.
    pub(super) terminal: Option<Arc<Descriptor>>,
}

/// Where standard input goes.
#[derive(Debug)]
pub(super) enum Input {
    /// A pipe, whose closing is the end.
    Pipe(Descriptor),
    /// A terminal, which is told of the end.
    Terminal(Arc<Descriptor>),
}

impl Input {
    /// Writes everything; fails when nobody reads any more.
    pub(super) async fn write(&self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Pipe(pipe) => pipe.write_all(bytes).await,
            Self::Terminal(terminal) => terminal.write_all(bytes).await,
        }
    }

    /// Ends the input. A terminal takes it as an end at the start of a line only.
    pub(super) async fn close(self) {
        if let Self::Terminal(terminal) = self {
            drop(terminal.write_all(&[END_OF_INPUT]).await);
        }
    }
}

/// Makes the agent's and the child's side.
pub(super) fn open(
    terminal: Option<TerminalSize>,
    owner: &Identity,
) -> io::Result<(Stdio, Streams)> {
    match terminal {
        Some(size) => open_terminal(size, owner.uid),
        None => open_pipes(owner),
    }
}

fn open_pipes(owner: &Identity) -> io::Result<(Stdio, Streams)> {
    let (child_input, input) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let (output, child_output) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let (error, child_error) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let descriptors = [child_input, child_output, child_error];
    for descriptor in &descriptors {
        give(descriptor, owner.uid, Some(owner.gid))?;
    }
    let stdio = Stdio {
        input: Input::Pipe(Descriptor::new(input)?),
        output: Arc::new(Descriptor::new(output)?),
        error: Some(Arc::new(Descriptor::new(error)?)),
        terminal: None,
    };
    let streams = Streams {
        descriptors,
        terminal: false,
    };
    Ok((stdio, streams))
}

fn open_terminal(size: TerminalSize, owner: Uid) -> io::Result<(Stdio, Streams)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = rustix::pty::openpt(flags)?;
    rustix::pty::grantpt(&master)?;
    rustix::pty::unlockpt(&master)?;
    // by descriptor: the path under /dev/pts may be anything in an image
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags)?;
    give(&slave, owner, None)?;
    resize(&master, size)?;
    let terminal = Arc::new(Descriptor::new(master)?);
    let stdio = Stdio {
        input: Input::Terminal(Arc::clone(&terminal)),
        output: Arc::clone(&terminal),
        error: None,
        terminal: Some(terminal),
    };
    let streams = Streams {
        descriptors: [slave.try_clone()?, slave.try_clone()?, slave],
        terminal: true,
    };
    Ok((stdio, streams))
}

/// Lets the user open its own streams again, as `/dev/stdout` does.
fn give(descriptor: &OwnedFd, uid: Uid, gid: Option<Gid>) -> Result<(), Errno> {
    rustix::fs::fchown(descriptor, Some(uid), gid)
}

/// Tells a terminal its size; the kernel tells the processes.
pub(super) fn resize(terminal: impl std::os::fd::AsFd, size: TerminalSize) -> io::Result<()> {
    let cells = |count: u32| u16::try_from(count).unwrap_or(u16::MAX);
    let size = Winsize {
        ws_row: cells(size.rows),
        ws_col: cells(size.columns),
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    Ok(rustix::termios::tcsetwinsize(terminal, size)?)
}
