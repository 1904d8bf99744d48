//! What running a command in a VM looks like from outside.

use bytes::Bytes;
use tokio::sync::mpsc;

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
}

/// A terminal's size in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalSize {
    /// Rows.
    pub rows: u16,
    /// Columns.
    pub columns: u16,
}

/// A command that runs in a guest. Dropping the whole session kills it.
#[derive(Debug)]
pub struct ExecSession {
    /// Process id in the guest.
    pub pid: u32,
    /// Standard input, signals, terminal size. Bounded: sending waits while
    /// the guest does not read.
    pub control: mpsc::Sender<ExecControl>,
    /// Output and, as the last item, exactly one exit or error. Bounded: not
    /// reading holds the process up.
    pub events: mpsc::Receiver<Result<ExecEvent, super::ExecError>>,
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
    /// It ended, and all its output was delivered.
    Exit(ExecExit),
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExecExit {
    /// It exited with this status.
    Code(u8),
    /// This Linux signal ended it.
    Signal(u8),
}

impl ExecExit {
    /// The status a shell would report: 128 + signal for a signal.
    #[must_use]
    pub const fn shell_status(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => signal.saturating_add(128),
        }
    }
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
