//! The ladder by which a machine is brought down.
//!
//! ```text
//! agent powers off -> power button -> SIGTERM to the VMM -> SIGKILL
//!   3/4 of grace       to its end         2 s              at once
//! ```
//!
//! A command that the machine exists for is asked first, by its image's own
//! signal, and has half of the grace period.
//!
//! Invariants: every rung has a deadline and is told to the VM's record before
//! it is waited for; a failing rung leads to the next one; the guest's rungs
//! end with the grace period; an order without grace leads to the last rung at
//! once; nothing that fails to be recorded holds the ladder up.
//! Entry points: [`Ladder::climb`].

use std::{pin::pin, time::Duration};

use rustix::process::Signal;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};

use super::{
    command::RunningCommand,
    guest::power_off,
    machine::{Exited, RunningMachine},
    orders::StopOrder,
    record::{Record, warn_of},
};
use crate::{
    domain::VmState,
    vm::{http2::Http2Client, in_words},
};

/// How long an agent or a VMM may take to answer that it was asked.
const ANSWER_DEADLINE: Duration = Duration::from_secs(2);
/// Between SIGTERM and SIGKILL.
const TERMINATE_DEADLINE: Duration = Duration::from_secs(2);
/// What is left of the grace period when nobody could be asked: the guest may
/// be on its way down already.
const UNREACHABLE_GRACE: Duration = Duration::from_secs(2);

/// A machine that was brought down.
#[derive(Debug)]
pub(super) struct BroughtDown {
    pub(super) exited: Exited,
    /// Whether the guest did not do it itself.
    pub(super) forced: bool,
}

/// Who in the guest could power it off.
#[derive(Debug)]
pub(super) enum Guest {
    /// Nobody yet.
    Booting,
    /// An agent.
    Agent(Http2Client),
    /// Whoever hears the power button.
    WithoutAgent,
}

/// A machine that is being brought down.
#[derive(Debug)]
pub(super) struct Ladder<'a> {
    machine: &'a mut RunningMachine,
    record: &'a mut Record,
    /// Later orders may shorten the grace period of the first, never lengthen it.
    orders: &'a mut mpsc::Receiver<StopOrder>,
    /// What the machine exists for, until it was asked.
    command: Option<&'a mut RunningCommand>,
    why: &'static str,
    /// The end of the grace period.
    end: Instant,
    at_once: bool,
}

impl<'a> Ladder<'a> {
    pub(super) fn new(
        machine: &'a mut RunningMachine,
        record: &'a mut Record,
        orders: &'a mut mpsc::Receiver<StopOrder>,
        first: StopOrder,
    ) -> Self {
        Self {
            machine,
            record,
            orders,
            command: None,
            why: first.why,
            end: deadline_after(first.grace),
            at_once: first.grace.is_zero(),
        }
    }

    /// With a command that is to be asked to stop before its machine is.
    pub(super) fn with_command(mut self, command: Option<&'a mut RunningCommand>) -> Self {
        self.command = command;
        self
    }

    /// Brings the machine down.
    pub(super) async fn climb(mut self, guest: Guest) -> BroughtDown {
        if !self.at_once
            && let Some(exited) = self.in_order(guest).await
        {
            return BroughtDown {
                exited,
                forced: false,
            };
        }
        BroughtDown {
            exited: self.by_force().await,
            forced: true,
        }
    }

    async fn in_order(&mut self, guest: Guest) -> Option<Exited> {
        if self.record.vm().state == VmState::Paused {
            self.let_go_on().await;
        }
        match guest {
            Guest::Booting => return None,
            Guest::Agent(client) => {
                if let Some(exited) = self.ask_command().await {
                    return Some(exited);
                }
                if self.at_once {
                    return None;
                }
                if let Some(exited) = self.ask_agent(client).await {
                    return Some(exited);
                }
            }
            Guest::WithoutAgent => {}
        }
        if self.at_once || self.left().is_zero() {
            return None;
        }
        self.press_power_button().await
    }

    async fn ask_command(&mut self) -> Option<Exited> {
        let command = self.command.take()?;
        if command.end().is_some() {
            return None;
        }
        let signal = command.stop_signal();
        self.tell(&format!("its command is sent {signal}")).await;
        command.ask_to_stop().await;
        let mut deadline = Instant::now() + self.left() / 2;
        while !self.at_once {
            tokio::select! {
                exited = self.machine.wait() => return Some(exited),
                _ = command.ended() => break,
                () = sleep_until(deadline) => break,
                Some(order) = self.orders.recv() => {
                    self.hasten(order);
                    deadline = deadline.min(deadline_after(order.grace / 2));
                }
            }
        }
        None
    }

    async fn ask_agent(&mut self, guest: Http2Client) -> Option<Exited> {
        self.tell("its agent is asked to power off").await;
        let patience = self.left() * 3 / 4;
        let deadline = Instant::now() + patience;
        let mut asking = pin!(timeout(patience.min(ANSWER_DEADLINE), power_off(guest)));
        let problem = loop {
            tokio::select! {
                exited = self.machine.wait() => return Some(exited),
                Some(order) = self.orders.recv() => {
                    self.hasten(order);
                    if self.at_once {
                        return None;
                    }
                }
                answer = &mut asking => break match answer {
                    Ok(Ok(())) => return self.until(deadline).await,
                    Ok(Err(problem)) => problem,
                    Err(_) => format!("it does not answer within {ANSWER_DEADLINE:?}"),
                },
            }
        };
        tracing::warn!(problem, "the agent could not be asked to power off");
        None
    }

    /// A guest whose CPUs stand still cannot do anything.
    async fn let_go_on(&mut self) {
        self.tell("it goes on").await;
        let resumed = timeout(ANSWER_DEADLINE, self.machine.resume()).await;
        if !matches!(resumed, Ok(Ok(()))) {
            tracing::warn!("the VMM does not let the machine go on");
        }
    }

    async fn press_power_button(&mut self) -> Option<Exited> {
        self.tell("its power button is pressed").await;
        let pressed = timeout(ANSWER_DEADLINE, self.machine.press_power_button()).await;
        let problem = match pressed {
            Ok(Ok(())) => return self.until(self.end).await,
            Ok(Err(error)) => in_words(&error),
            Err(_) => format!("the VMM does not answer within {ANSWER_DEADLINE:?}"),
        };
        tracing::warn!(problem, "the power button could not be pressed");
        self.until(self.end.min(deadline_after(UNREACHABLE_GRACE)))
            .await
    }

    /// Ends the VMM: by SIGTERM first, so that it can write back what it holds.
    async fn by_force(&mut self) -> Exited {
        if !self.at_once {
            self.machine.signal(Signal::TERM);
            self.tell("its VMM is terminated").await;
            if let Some(exited) = self.until(deadline_after(TERMINATE_DEADLINE)).await {
                return exited;
            }
        }
        self.machine.signal(Signal::KILL);
        self.tell("its VMM is killed").await;
        self.machine.wait().await
    }

    /// Waits for the end of the machine, up to a deadline or what later orders
    /// leave of it.
    async fn until(&mut self, mut deadline: Instant) -> Option<Exited> {
        while !self.at_once {
            tokio::select! {
                exited = self.machine.wait() => return Some(exited),
                () = sleep_until(deadline) => return None,
                Some(order) = self.orders.recv() => {
                    self.hasten(order);
                    deadline = deadline.min(deadline_after(order.grace));
                }
            }
        }
        None
    }

    fn hasten(&mut self, order: StopOrder) {
        self.at_once |= order.grace.is_zero();
        self.end = self.end.min(deadline_after(order.grace));
    }

    fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    /// Publishes which rung is being tried.
    async fn tell(&mut self, rung: &str) {
        warn_of(self.record.stopping(format!("{}: {rung}", self.why)).await);
    }
}

/// Grace periods come from clients: one that overflows is as good as a year.
fn deadline_after(grace: Duration) -> Instant {
    Instant::now() + grace.min(Duration::from_hours(365 * 24))
}
