//! A guest's command on the user's own streams.
//!
//! Purpose: pass bytes, signals and terminal sizes between banger's streams
//! and a command in a guest. Invariants: output is passed exactly and in order;
//! input is read only when it was asked for, and no faster than the guest takes
//! it; input that was not asked for is closed at once, so nothing waits for it.
//! Entry points: [`attach`].

mod input;
mod piped;

use std::{convert::Infallible, future::pending};

use banger_core::vm::{ExecControl, ExecEvent, ExecEvents, ExecExit, ExecSession};
use tokio::sync::mpsc;

use crate::{
    console::Console,
    error::CliError,
    exit,
    signals::{Asks, HostSignal, Signals, Window},
    terminal::{self, RawMode},
};

use input::Input;
pub(crate) use piped::PipedInput;

/// What of the user's side a command gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attachment {
    /// Standard input.
    pub interactive: bool,
    /// A terminal.
    pub terminal: bool,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The command ended.
    Exit(ExecExit),
    /// The user gave it up: the second signal.
    GivenUp(HostSignal),
    /// The reader of its output went away.
    OutputClosed,
}

impl Ended {
    /// The exit status that says so.
    #[must_use]
    pub const fn status(self) -> u8 {
        match self {
            Self::Exit(exit) => exit.shell_status(),
            Self::GivenUp(signal) => exit::of_signal(signal),
            Self::OutputClosed => exit::OUTPUT_CLOSED,
        }
    }
}

/// Passes everything between a command and the console until the command ends
/// or is given up, which kills one that is not to be kept. Cancelling does so
/// as well.
pub async fn attach(
    session: ExecSession,
    console: &Console,
    signals: &mut Signals,
    attachment: Attachment,
) -> Result<Ended, CliError> {
    let raw = match attachment {
        Attachment {
            interactive: true,
            terminal: true,
        } => Some(RawMode::enter(console.stdin())?),
        _ => None,
    };
    let ExecSession {
        control,
        events,
        settled,
        ..
    } = session;
    let (asks, window) = (&mut signals.asks, &mut signals.window);
    let ended = tokio::select! {
        ended = deliver(events, console, raw.is_some()) => ended,
        signal = pass_signals(&control, asks) => Ok(Ended::GivenUp(signal)),
        never = pass_sizes(&control, window, console, attachment.terminal) => match never {},
        failed = pass_input(&control, console, attachment.interactive) => Err(failed),
    };
    drop((raw, control));
    // the guest is told by a task, which ends with this process
    settled.wait().await;
    ended
}

async fn deliver(mut events: ExecEvents, console: &Console, raw: bool) -> Result<Ended, CliError> {
    while let Some(event) = events.recv().await {
        let written = match event? {
            ExecEvent::Stdout(bytes) => console.write_stdout(&bytes).await,
            ExecEvent::Stderr(bytes) => console.write_stderr(&bytes).await,
            ExecEvent::Truncated { from, to } => tell_gap(console, to - from, raw).await,
            ExecEvent::Exit(exit) => return Ok(Ended::Exit(exit)),
        };
        match written {
            Err(error) if error.is_broken_pipe() => return Ok(Ended::OutputClosed),
            written => written?,
        }
    }
    Err(CliError::SessionLost)
}

async fn tell_gap(console: &Console, bytes: u64, raw: bool) -> Result<(), CliError> {
    let end = if raw { "\r\n" } else { "\n" };
    let text = format!("banger: {bytes} bytes of output are not kept any more{end}");
    console.write_stderr(text.as_bytes()).await
}

/// Passes the first signal on and answers the second.
async fn pass_signals(control: &mpsc::Sender<ExecControl>, asks: &mut Asks) -> HostSignal {
    let first = asks.next().await;
    let signal = ExecControl::Signal(u32::from(first.number()));
    tokio::select! {
        never = send_once(control, signal) => match never {},
        second = asks.next() => second,
    }
}

async fn pass_sizes(
    control: &mpsc::Sender<ExecControl>,
    window: &mut Window,
    console: &Console,
    terminal: bool,
) -> Infallible {
    if !terminal {
        return pending().await;
    }
    loop {
        window.changed().await;
        let size = terminal::size(console.stdin());
        // a session that is over is told of by its events
        let _over = control.send(ExecControl::Resize(size)).await;
    }
}

async fn pass_input(
    control: &mpsc::Sender<ExecControl>,
    console: &Console,
    interactive: bool,
) -> CliError {
    if !interactive {
        match send_once(control, ExecControl::CloseStdin).await {}
    }
    match Input::start(console.stdin(), control.clone()) {
        Ok(_input) => pending().await,
        Err(error) => error,
    }
}

async fn send_once(control: &mpsc::Sender<ExecControl>, message: ExecControl) -> Infallible {
    // a session that is over is told of by its events
    let _over = control.send(message).await;
    pending().await
}

#[cfg(test)]
mod tests;
