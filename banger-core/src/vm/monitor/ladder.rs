//! The ladder by which a machine is brought down: ask the agent, wait for the
//! grace period, terminate the VMM, kill it.

use std::time::Duration;

use rustix::process::Signal;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};

use super::{
    guest::power_off,
    machine::{Exited, RunningMachine},
    orders::StopOrder,
};
use crate::vm::http2::Http2Client;

/// Between SIGTERM and SIGKILL.
const TERMINATE_DEADLINE: Duration = Duration::from_secs(2);
/// What is left of the grace period when the agent cannot be asked: it may be
/// gone because the guest is on its way down.
const UNREACHABLE_GRACE: Duration = Duration::from_secs(2);

/// A machine that was brought down.
#[derive(Debug)]
pub(super) struct BroughtDown {
    pub(super) exited: Exited,
    /// Whether the guest did not do it itself.
    pub(super) forced: bool,
}

/// Brings a machine down. Later orders may shorten the grace period of the
/// first, never lengthen it.
pub(super) async fn bring_down(
    machine: &mut RunningMachine,
    guest: Option<Http2Client>,
    first: StopOrder,
    orders: &mut mpsc::Receiver<StopOrder>,
) -> BroughtDown {
    if let Some(guest) = guest
        && !first.grace.is_zero()
        && let Some(exited) = ask(machine, guest, first, orders).await
    {
        return BroughtDown {
            exited,
            forced: false,
        };
    }
    BroughtDown {
        exited: force(machine, first.grace.is_zero()).await,
        forced: true,
    }
}

/// Asks the agent and waits for the end, up to the grace period.
async fn ask(
    machine: &mut RunningMachine,
    guest: Http2Client,
    first: StopOrder,
    orders: &mut mpsc::Receiver<StopOrder>,
) -> Option<Exited> {
    let mut deadline = deadline_after(first.grace);
    let mut asking = Box::pin(power_off(guest));
    let mut asked = false;
    loop {
        tokio::select! {
            exited = machine.wait() => return Some(exited),
            () = sleep_until(deadline) => return None,
            Some(order) = orders.recv() => deadline = deadline.min(deadline_after(order.grace)),
            answer = &mut asking, if !asked => {
                asked = true;
                if let Err(problem) = answer {
                    tracing::warn!(problem, "the agent could not be asked to power off");
                    deadline = deadline.min(deadline_after(UNREACHABLE_GRACE));
                }
            }
        }
    }
}

/// Ends the VMM: at once, or by SIGTERM first so that it can write back what
/// it holds.
async fn force(machine: &mut RunningMachine, at_once: bool) -> Exited {
    if !at_once {
        machine.signal(Signal::TERM);
        if let Ok(exited) = timeout(TERMINATE_DEADLINE, machine.wait()).await {
            return exited;
        }
    }
    machine.signal(Signal::KILL);
    machine.wait().await
}

/// Grace periods come from clients: one that overflows is as good as a year.
fn deadline_after(grace: Duration) -> Instant {
    Instant::now() + grace.min(Duration::from_hours(365 * 24))
}
