//! Who may tell a monitor to end its VM, in one queue.
//!
//! Sources: the socket's Stop call, the termination signal, and the end of the
//! lifeline. The signals of a terminal are ignored: a VM is nobody's
//! foreground job.

use std::{io, os::fd::AsFd as _, time::Duration};

use tokio::{
    io::AsyncReadExt as _,
    net::unix::pipe,
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Orders that may wait.
const QUEUE: usize = 16;
/// What a guest gets when the monitor is told to end.
const TERMINATION_GRACE: Duration = Duration::from_secs(10);
/// What a guest gets when its caller is gone.
const LIFELINE_GRACE: Duration = Duration::from_secs(2);

/// An order to end the VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StopOrder {
    /// How long the guest may take; zero ends it at once.
    pub(super) grace: Duration,
    /// Who gave it, for the record.
    pub(super) why: &'static str,
}

/// A queue of orders.
pub(super) fn queue() -> (mpsc::Sender<StopOrder>, mpsc::Receiver<StopOrder>) {
    mpsc::channel(QUEUE)
}

/// The signals a monitor handles, taken over at once.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    /// Being received is what makes them have no effect.
    _ignored: [Signal; 2],
}

impl Signals {
    pub(super) fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            _ignored: [
                signal(SignalKind::interrupt())?,
                signal(SignalKind::hangup())?,
            ],
        })
    }

    /// Turns each termination signal into an order until `closing`.
    pub(super) fn watch(
        mut self,
        orders: mpsc::Sender<StopOrder>,
        tracker: &TaskTracker,
        closing: CancellationToken,
    ) {
        let watching = async move {
            while self.terminate.recv().await.is_some() {
                let order = StopOrder {
                    grace: TERMINATION_GRACE,
                    why: "its monitor was told to end",
                };
                if orders.send(order).await.is_err() {
                    return;
                }
            }
        };
        drop(tracker.spawn(async move { closing.run_until_cancelled(watching).await }));
    }
}

/// Turns the end of standard input, the lifeline, into an order.
pub(super) fn watch_lifeline(
    orders: mpsc::Sender<StopOrder>,
    tracker: &TaskTracker,
    closing: CancellationToken,
) -> io::Result<()> {
    let lifeline = rustix::stdio::stdin().as_fd().try_clone_to_owned()?;
    let mut lifeline = pipe::Receiver::from_owned_fd(lifeline)?;
    let watching = async move {
        let mut nothing = [0; 64];
        // nobody writes; were somebody to, only the end would matter
        while let Ok(1..) = lifeline.read(&mut nothing).await {}
        let order = StopOrder {
            grace: LIFELINE_GRACE,
            why: "the process it was bound to is gone",
        };
        // a closed queue means that the VM has ended
        orders.send(order).await.ok();
    };
    drop(tracker.spawn(async move { closing.run_until_cancelled(watching).await }));
    Ok(())
}
