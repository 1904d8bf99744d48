//! One process with its output, from start to exit, whoever is attached.
//!
//! Invariants: the exit is set once, after all output is in the ring; the
//! process is reaped by [`Session::live`] alone; it waits for a client only as
//! long as the request says.

use std::{
    convert::Infallible,
    future::pending,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use banger_proto::guest::v1::{
    ExecAttached, ExecExit, ExecInfo, ExecInput, ExecOutOfMemory, ExecSignal, ExecStream,
    ExecTimedOut, TerminalSize, exec_exit::Outcome,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::{
    failure::SpawnError,
    input::{Input, Next},
    memory,
    output::Output,
    process::Process,
    request::Command,
    state::State,
    stdio::{self, Stdio},
    terms::{self, Terms},
};
use crate::descriptor::Descriptor;

/// How long a process has between the end of its time and the kill.
const TERMINATION_GRACE: Duration = Duration::from_secs(5);
/// How long a session that was given up may take to end.
const END_PATIENCE: Duration = Duration::from_secs(20);

/// A process, its output, and who is attached.
#[derive(Debug)]
pub(super) struct Session {
    terms: Terms,
    process: Process,
    terminal: Option<Arc<Descriptor>>,
    born: Instant,
    timed_out: AtomicBool,
    state: watch::Sender<State>,
    input: watch::Sender<Input>,
}

/// The agent's ends of a session's streams.
#[derive(Debug)]
pub(super) struct Streams {
    output: Output,
    input: stdio::Input,
}

impl Session {
    /// Starts the process. Not to be cancelled: it would not be reaped.
    pub(super) async fn start(
        command: &Command,
        terms: Terms,
    ) -> Result<(Self, Streams), SpawnError> {
        let (stdio, streams) = stdio::open(command.terminal, &command.plan.identity)
            .map_err(SpawnError::resources("make the standard streams"))?;
        let process = Process::start(command, streams).await?;
        let output = Output::new(&stdio);
        let Stdio {
            input, terminal, ..
        } = stdio;
        let session = Self {
            state: watch::Sender::new(State::new(terms.on_full)),
            terms,
            process,
            terminal,
            born: Instant::now(),
            timed_out: AtomicBool::new(false),
            input: watch::Sender::default(),
        };
        if session.terms.without_stdin {
            session.close_input();
        }
        Ok((session, Streams { output, input }))
    }

    /// Stays with the process to its end. Not to be cancelled while the machine
    /// is to live on.
    pub(super) async fn live(&self, streams: Streams) {
        let Streams { mut output, input } = streams;
        let exit = tokio::select! {
            exit = self.conclude(&mut output) => exit,
            never = self.feed(input) => match never {},
            never = self.keep_time() => match never {},
            never = self.mind_clients() => match never {},
        };
        self.input.send_modify(Input::end);
        // whoever was left behind writes to nobody from here on
        drop(output);
        self.state.send_modify(|state| state.conclude(exit));
    }

    /// Its process's id.
    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What is known and changes.
    pub(super) fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// A client joins that has the output below an offset: its number.
    pub(super) fn join(&self, offset: u64) -> Option<u64> {
        modify(&self.state, |state| state.join(offset)).flatten()
    }

    /// A client leaves.
    pub(super) fn leave(&self, client: u64) {
        self.state.send_modify(|state| state.leave(client));
    }

    /// A client has everything below the offset.
    pub(super) fn acknowledge(&self, client: u64, offset: u64) {
        self.state
            .send_modify(|state| state.acknowledge(client, offset));
    }

    /// A client was sent everything, the exit last.
    pub(super) fn tell(&self) {
        self.state.send_modify(State::tell);
    }

    /// Nobody wants it any more.
    pub(super) fn give_up(&self) {
        self.state.send_modify(State::give_up);
    }

    /// What its clients sent.
    pub(super) fn input(&self) -> watch::Receiver<Input> {
        self.input.subscribe()
    }

    /// How a new client finds it.
    pub(super) fn attached(&self) -> ExecAttached {
        let input = self.input.borrow();
        ExecAttached {
            pid: self.pid(),
            accepted: Some(input.accepted()),
            stdin_closed: input.is_closed(),
            terminal: self.terminal.is_some(),
            when_detached: self.terms.when_detached.into(),
        }
    }

    /// What a listing says of it.
    pub(super) fn info(&self) -> ExecInfo {
        let state = self.state.borrow();
        ExecInfo {
            exec_id: self.terms.id.clone(),
            argv: self.terms.words.clone(),
            pid: self.pid(),
            attached: state.client().is_some(),
            exit: state.exit(),
            first_offset: state.ring().first(),
            end_offset: state.ring().end(),
            age_millis: u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX),
            terminal: self.terminal.is_some(),
        }
    }

    /// Puts output into the ring, once it has room.
    pub(super) async fn keep(&self, stream: ExecStream, chunk: &[u8]) {
        loop {
            // seen before it is tried: a change in between is noticed
            let mut changes = self.state.subscribe();
            let push = |state: &mut State| state.push(stream, chunk);
            if self.state.send_if_modified(push) || changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Takes standard input.
    pub(super) fn take_input(&self, input: &ExecInput) -> Result<(), SpawnError> {
        modify(&self.input, |known| known.take(input)).unwrap_or(Ok(()))
    }

    /// Standard input ends after what was sent.
    pub(super) fn close_input(&self) {
        self.input.send_modify(Input::close);
    }

    /// Signals the process's group.
    pub(super) fn signal(&self, signal: ExecSignal) -> Result<(), SpawnError> {
        let number = terms::signal(signal.number)?;
        let fresh = modify(&self.input, |known| known.take_signal(signal)).transpose()?;
        if fresh == Some(true) {
            self.process.signal(number);
        }
        Ok(())
    }

    /// Tells its terminal, if there is one, the size of the client's.
    pub(super) fn resize(&self, size: TerminalSize) -> io::Result<()> {
        match &self.terminal {
            Some(terminal) => stdio::resize(terminal, size),
            None => Ok(()),
        }
    }

    /// Ends the process, and waits until it is gone.
    pub(super) async fn end(&self) {
        self.give_up();
        let mut state = self.state.subscribe();
        let ended = state.wait_for(|state| state.exit().is_some());
        drop(timeout(END_PATIENCE, ended).await);
    }

    /// Waits for the end of the process and of its output.
    async fn conclude(&self, output: &mut Output) -> ExecExit {
        let both_ended = tokio::select! {
            () = self.process.ended() => false,
            () = output.carry(self) => true,
        };
        if both_ended {
            self.process.ended().await;
        }
        if self.state.borrow().is_given_up() {
            // while it is not reaped, its group's number is its own
            self.process.signal(libc::SIGKILL);
        }
        let exit = self.process.reap();
        output.finish(self).await;
        let outcome = match exit.outcome {
            _ if self.timed_out.load(Ordering::Relaxed) => Some(Outcome::TimedOut(ExecTimedOut {})),
            Some(Outcome::Signal(9)) if memory::killed(self.pid(), self.born.elapsed()) => {
                Some(Outcome::OutOfMemory(ExecOutOfMemory {}))
            }
            outcome => outcome,
        };
        ExecExit { outcome }
    }

    /// Writes input as it comes; after a failure it is let go.
    async fn feed(&self, pipe: stdio::Input) -> Infallible {
        let mut input = self.input.subscribe();
        loop {
            let next = match input.wait_for(Input::has_next).await {
                Ok(input) => input.next(),
                Err(_) => None,
            };
            match next {
                Some(Next::Write(bytes)) => {
                    if pipe.write(&bytes).await.is_err() {
                        break;
                    }
                    self.input.send_modify(|input| input.written(bytes.len()));
                }
                Some(Next::Close) => {
                    pipe.close().await;
                    return pending().await;
                }
                None => break,
            }
        }
        drop(pipe);
        self.input.send_modify(Input::end);
        pending().await
    }

    /// Ends a process whose time is up.
    async fn keep_time(&self) -> Infallible {
        let Some(limit) = self.terms.timeout else {
            return pending().await;
        };
        sleep(limit).await;
        if !self.process.is_reaped() {
            self.timed_out.store(true, Ordering::Relaxed);
            self.process.signal(libc::SIGTERM);
            // a stopped process takes its signal when it goes on
            self.process.signal(libc::SIGCONT);
            sleep(TERMINATION_GRACE).await;
            self.process.signal(libc::SIGKILL);
        }
        pending().await
    }

    /// Ends a process that was given up, or that no client wants any more.
    async fn mind_clients(&self) -> Infallible {
        let mut state = self.state.subscribe();
        let given_up = async {
            drop(state.wait_for(State::is_given_up).await);
        };
        tokio::select! {
            () = given_up => {}
            () = self.deserted() => self.state.send_modify(State::give_up),
        }
        self.process.end().await;
        pending().await
    }

    /// Waits until nobody was attached for longer than the request allows.
    async fn deserted(&self) {
        let Some(grace) = self.terms.grace() else {
            return pending().await;
        };
        let mut state = self.state.subscribe();
        loop {
            drop(state.wait_for(|state| state.client().is_none()).await);
            let back = state.wait_for(|state| state.client().is_some());
            if timeout(grace, back).await.is_err() {
                return;
            }
        }
    }
}

/// Changes what others watch, and answers what the change does.
fn modify<T, A>(watched: &watch::Sender<T>, change: impl FnOnce(&mut T) -> A) -> Option<A> {
    let mut answer = None;
    watched.send_modify(|value| answer = Some(change(value)));
    answer
}
