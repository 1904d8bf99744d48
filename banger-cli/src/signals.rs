//! Signals that reach banger.
//!
//! Purpose: what a user or a service manager asks for, as values. Invariants:
//! a signal never ends the process on its own once [`Signals::listen`] was
//! called, so that guards are dropped and VMs are stopped.
//! Entry points: [`Signals`].

use std::{future::pending, io};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    task::JoinSet,
};

use crate::error::CliError;

/// Asks that are kept while nobody looks; more of them say nothing new.
const QUEUE: usize = 8;

/// A signal that asks banger to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostSignal {
    /// SIGHUP: the terminal went away.
    Hangup,
    /// SIGINT: Ctrl-C.
    Interrupt,
    /// SIGQUIT: Ctrl-\.
    Quit,
    /// SIGTERM.
    Terminate,
}

impl HostSignal {
    const ALL: [Self; 4] = [Self::Hangup, Self::Interrupt, Self::Quit, Self::Terminate];

    /// The signal's number, the same on every Linux.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Hangup => 1,
            Self::Interrupt => 2,
            Self::Quit => 3,
            Self::Terminate => 15,
        }
    }

    /// The signal's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hangup => "SIGHUP",
            Self::Interrupt => "SIGINT",
            Self::Quit => "SIGQUIT",
            Self::Terminate => "SIGTERM",
        }
    }
}

/// The signals that came, oldest first.
#[derive(Debug)]
pub struct Signals {
    pub(crate) asks: Asks,
    pub(crate) window: Window,
    listeners: JoinSet<()>,
}

/// Asks to end.
#[derive(Debug)]
pub(crate) struct Asks(mpsc::Receiver<HostSignal>);

/// News of the terminal's size.
#[derive(Debug)]
pub(crate) struct Window(mpsc::Receiver<()>);

impl Asks {
    /// Waits for the next. Cancelling loses nothing.
    pub(crate) async fn next(&mut self) -> HostSignal {
        match self.0.recv().await {
            Some(signal) => signal,
            None => pending().await,
        }
    }
}

impl Window {
    /// Waits for the next. Cancelling loses nothing.
    pub(crate) async fn changed(&mut self) {
        if self.0.recv().await.is_none() {
            pending::<()>().await;
        }
    }
}

impl Signals {
    /// Listens for the process's signals, from now on and for good. Must be
    /// called inside a tokio runtime.
    pub fn listen() -> io::Result<Self> {
        let (asks, asked) = mpsc::channel(QUEUE);
        let (window, changed) = mpsc::channel(1);
        let mut signals = Self::from_channels(asked, changed);
        for ask in HostSignal::ALL {
            let source = signal(SignalKind::from_raw(i32::from(ask.number())))?;
            signals.listeners.spawn(pass_on(source, ask, asks.clone()));
        }
        let source = signal(SignalKind::window_change())?;
        signals.listeners.spawn(pass_on(source, (), window));
        Ok(signals)
    }

    /// Signals that come from the given channels.
    #[must_use]
    pub fn from_channels(asks: mpsc::Receiver<HostSignal>, window: mpsc::Receiver<()>) -> Self {
        Self {
            asks: Asks(asks),
            window: Window(window),
            listeners: JoinSet::new(),
        }
    }

    /// Runs `work` until it ends or the first ask to end comes, which drops it.
    pub async fn guard<T>(
        &mut self,
        work: impl Future<Output = Result<T, CliError>>,
    ) -> Result<T, CliError> {
        tokio::select! {
            result = work => result,
            signal = self.asks.next() => Err(CliError::Interrupted(signal)),
        }
    }
}

async fn pass_on<T: Copy>(mut source: Signal, value: T, to: mpsc::Sender<T>) {
    while source.recv().await.is_some() {
        if let Err(mpsc::error::TrySendError::Closed(_)) = to.try_send(value) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_dropped_by_a_signal_and_not_by_silence() {
        let (asks, asked) = mpsc::channel(1);
        let (_window, changed) = mpsc::channel(1);
        let mut signals = Signals::from_channels(asked, changed);
        assert_eq!(signals.guard(async { Ok(7) }).await.unwrap(), 7);
        asks.send(HostSignal::Terminate).await.unwrap();
        let given_up = signals.guard(pending::<Result<(), CliError>>()).await;
        assert!(matches!(
            given_up,
            Err(CliError::Interrupted(HostSignal::Terminate))
        ));
        drop(asks);
        assert_eq!(signals.guard(async { Ok(8) }).await.unwrap(), 8);
    }

    #[tokio::test]
    async fn real_signals_arrive() {
        let mut signals = Signals::listen().unwrap();
        let own = rustix::process::getpid();
        rustix::process::kill_process(own, rustix::process::Signal::HUP).unwrap();
        assert_eq!(signals.asks.next().await, HostSignal::Hangup);
        rustix::process::kill_process(own, rustix::process::Signal::WINCH).unwrap();
        signals.window.changed().await;
    }
}
