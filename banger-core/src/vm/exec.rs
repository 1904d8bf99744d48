//! What running a command in a VM looks like from outside.
//!
//! A command runs as a session of the guest: its output is kept there in a
//! bounded ring, with offsets that count both streams together, and a client may
//! leave and attach again where it was.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

use super::{ExecError, ExecId};

/// How long the guest may take to hear that nobody wants a session any more.
const SETTLING_DEADLINE: Duration = Duration::from_secs(5);
/// How long a command lives on whose client vanished, unless the request says.
const DETACH_GRACE: Duration = Duration::from_secs(10);

/// A command to run in a guest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecRequest {
    /// Program and arguments, exactly; when empty, the image's entrypoint and cmd.
    pub argv: Vec<String>,
    /// Environment beside the image's, each `KEY=VALUE`; the last of a key wins.
    pub env: Vec<String>,
    /// Working directory; the image's when none is given.
    pub working_directory: Option<String>,
    /// `user[:group]`; the image's when none is given.
    pub user: Option<String>,
    /// Run it on a terminal of this size.
    pub terminal: Option<TerminalSize>,
    /// Run the user's login shell instead of `argv`: what `/etc/passwd` says,
    /// else `/bin/sh`; in the user's home unless a directory is given.
    pub login_shell: bool,
    /// The session's name; made up when none is given. A command that is asked
    /// for again under its id is not started again.
    pub id: Option<ExecId>,
    /// How long it may run. Then it gets SIGTERM, 5 seconds later SIGKILL.
    pub timeout: Option<Duration>,
    /// What it meets when it writes more than is kept, and nobody is attached.
    pub on_full: OnFull,
    /// What becomes of it when nobody is attached.
    pub when_detached: WhenDetached,
    /// Its standard input has ended from the start.
    pub without_stdin: bool,
}

/// What a command meets that writes more than is kept while nobody is attached.
/// While somebody is, it waits for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFull {
    /// It waits until somebody attaches: nothing is lost.
    #[default]
    Wait,
    /// The oldest output is dropped.
    DropOldest,
}

/// What becomes of a command without a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenDetached {
    /// It is killed: at once when its session is dropped, after a grace when
    /// the client just vanished.
    Kill {
        /// How long a client may stay away.
        grace: Duration,
    },
    /// It goes on.
    Keep,
}

impl Default for WhenDetached {
    fn default() -> Self {
        Self::Kill {
            grace: DETACH_GRACE,
        }
    }
}

/// A terminal's size in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalSize {
    /// Rows.
    pub rows: u16,
    /// Columns.
    pub columns: u16,
}

/// A command that runs in a guest, with this process attached to it. A
/// connection that breaks while the VM runs on is made again. Dropping the whole
/// session detaches, which kills the command unless it is to be kept.
#[derive(Debug)]
pub struct ExecSession {
    /// The session's name.
    pub id: ExecId,
    /// Process id in the guest.
    pub pid: u32,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// How many bytes of standard input the session had taken before this
    /// client attached: what this client sends comes after them.
    pub stdin_offset: u64,
    /// Output and, as the last item, exactly one exit or error. Above
    /// `control`, so that it is dropped first: then nobody takes the end of that for
    /// the end of standard input.
    pub events: ExecEvents,
    /// Standard input, signals, terminal size. Bounded: sending waits while
    /// the guest does not read.
    pub control: mpsc::Sender<ExecControl>,
    /// What of the input the guest has taken.
    pub accepted: watch::Receiver<Accepted>,
    /// Whether dropping the session only detaches.
    pub leaving: Leaving,
    /// Tells when the guest has heard of the session's end.
    pub settled: Settled,
}

/// What of its input a command has taken, whoever sent it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Offset after the last byte of standard input.
    pub stdin_offset: u64,
    /// How many signals.
    pub signals: u64,
}

/// Whether dropping a session only detaches, which leaves a command that is to be
/// killed without a client to its grace.
#[derive(Clone, Debug, Default)]
pub struct Leaving(Arc<AtomicBool>);

impl Leaving {
    /// From now on it only detaches.
    pub fn detach(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn detaches(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl ExecSession {
    /// A session whose other ends are in somebody's hands.
    #[must_use]
    pub fn of_channels(
        pid: u32,
        control: mpsc::Sender<ExecControl>,
        events: mpsc::Receiver<Result<ExecEvent, ExecError>>,
    ) -> Self {
        Self {
            id: ExecId::generate(),
            pid,
            terminal: false,
            stdin_offset: 0,
            control,
            events: ExecEvents::new(events, 0, watch::Sender::new(0)),
            accepted: watch::channel(Accepted::default()).1,
            leaving: Leaving::default(),
            settled: Settled(oneshot::channel().1),
        }
    }
}

/// Output and end of a command. Bounded: not reading holds the command up.
///
/// Asking for the next event says that those before it are done with. What was
/// not done with is kept by the guest for whoever attaches next.
#[derive(Debug)]
pub struct ExecEvents<E = ExecError> {
    events: mpsc::Receiver<Result<ExecEvent, E>>,
    offset: u64,
    acknowledged: watch::Sender<u64>,
    over: bool,
}

impl<E> ExecEvents<E> {
    /// Events whose first byte of output has that offset. What they are done with
    /// is told through the last one.
    #[must_use]
    pub const fn new(
        events: mpsc::Receiver<Result<ExecEvent, E>>,
        offset: u64,
        acknowledged: watch::Sender<u64>,
    ) -> Self {
        Self {
            events,
            offset,
            acknowledged,
            over: false,
        }
    }

    /// The next event; none after the exit or an error. Cancelling loses nothing.
    pub async fn recv(&mut self) -> Option<Result<ExecEvent, E>> {
        if self.over {
            // done with the exit, too: the guest may forget the session
            self.events.close();
            return None;
        }
        self.acknowledged.send_replace(self.offset);
        let event = self.events.recv().await?;
        match &event {
            Ok(ExecEvent::Stdout(bytes) | ExecEvent::Stderr(bytes)) => {
                self.offset += bytes.len() as u64;
            }
            Ok(ExecEvent::Truncated { to, .. }) => self.offset = *to,
            Ok(ExecEvent::Exit(_)) | Err(_) => self.over = true,
        }
        Some(event)
    }

    /// The offset after the last event that was received: where to attach again.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }
}

/// Tells when the guest has heard that a session was dropped or is over.
#[derive(Debug)]
pub struct Settled(pub(super) oneshot::Receiver<()>);

impl Settled {
    /// Waits for whoever has the other end.
    #[must_use]
    pub const fn new(settled: oneshot::Receiver<()>) -> Self {
        Self(settled)
    }

    /// Waits for it, some seconds at most. A program that ends earlier leaves a
    /// command that is to be killed to the grace of its request.
    pub async fn wait(self) {
        drop(timeout(SETTLING_DEADLINE, self.0).await);
    }
}

/// From the caller to the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecControl {
    /// Bytes for standard input, of any length.
    Stdin(Bytes),
    /// End of standard input.
    CloseStdin,
    /// A signal by its Linux number, to the process's group.
    Signal(u32),
    /// The terminal has a new size.
    Resize(TerminalSize),
}

/// From the process to the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecEvent {
    /// Bytes it wrote to standard output, or to its terminal.
    Stdout(Bytes),
    /// Bytes it wrote to standard error.
    Stderr(Bytes),
    /// Output that is not kept any more, by its offsets.
    Truncated {
        /// Of the first byte.
        from: u64,
        /// After the last byte.
        to: u64,
    },
    /// It ended, and all its output was delivered.
    Exit(ExecExit),
}

/// How a process ended. A VM that went away meanwhile is an
/// [`ExecError::VmLost`] in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExecExit {
    /// It exited with this status.
    Code(u8),
    /// This Linux signal ended it.
    Signal(u8),
    /// Its time was up.
    TimedOut,
    /// The guest's kernel killed it for want of memory.
    OutOfMemory,
}

impl ExecExit {
    /// The status a shell would report: 128 + signal for a signal, that of
    /// timeout(1) when its time was up, that of SIGKILL for want of memory.
    #[must_use]
    pub const fn shell_status(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => signal.saturating_add(128),
            Self::TimedOut => 124,
            Self::OutOfMemory => 128 + 9,
        }
    }
}

/// A session of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecInfo {
    /// Its name.
    pub id: ExecId,
    /// Its command line, perhaps cut.
    pub argv: Vec<String>,
    /// Process id in the guest.
    pub pid: u32,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// Whether a client is attached.
    pub attached: bool,
    /// How it ended; none while it runs.
    pub exit: Option<ExecExit>,
    /// Offset of the first byte of output that is kept.
    pub first_offset: u64,
    /// Offset after the last byte of output.
    pub end_offset: u64,
    /// How long ago it was started.
    pub age: Duration,
}

/// Why a process could not be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpawnFailure {
    /// The program does not exist.
    NotFound,
    /// The program exists but cannot be executed.
    NotExecutable,
    /// The working directory cannot be entered.
    BadWorkingDirectory,
    /// The user or group is not known in the guest.
    UnknownUser,
    /// The request is malformed.
    InvalidRequest,
    /// The guest lacks memory, processes or terminals.
    Resources,
}
