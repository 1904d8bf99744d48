//! A client's side of a command, whatever protocol it goes over.
//!
//! Purpose: what whoever passes a command on needs between the caller's ends and its
//! connections, for the guest's protocol as for a service's. Invariants: both channels
//! are bounded; input and signals are kept until the command took them.
//! Entry points: [`Caller`], [`Outgoing`], [`say`].

mod outgoing;

use std::{convert::Infallible, future::pending};

use tokio::sync::{mpsc, watch};

use super::{Accepted, ExecControl, ExecEvent, ExecEvents};

pub use outgoing::{Limits, Outgoing, Said, Taken};

/// The other ends of those of the caller.
#[derive(Debug)]
pub struct Caller<E> {
    /// What the caller wants.
    pub controls: mpsc::Receiver<ExecControl>,
    /// Whether more may come from there.
    pub open: bool,
    /// What the caller is told.
    pub events: mpsc::Sender<Result<ExecEvent, E>>,
    /// The output below it is done with.
    pub acknowledged: watch::Receiver<u64>,
    /// What the command has taken.
    pub accepted: watch::Sender<Accepted>,
}

/// The caller's ends of a command.
#[derive(Debug)]
pub struct Ends<E> {
    /// Standard input, signals, terminal size.
    pub control: mpsc::Sender<ExecControl>,
    /// Output and end.
    pub events: ExecEvents<E>,
    /// What the command has taken.
    pub accepted: watch::Receiver<Accepted>,
}

impl<E> Caller<E> {
    /// Both ends, with so many messages that may wait in each direction, for a caller
    /// who has the output below an offset.
    #[must_use]
    pub fn new(queue: usize, offset: u64, accepted: Accepted) -> (Self, Ends<E>) {
        let (control, controls) = mpsc::channel(queue);
        let (events, told) = mpsc::channel(queue);
        let (acknowledging, acknowledged) = watch::channel(offset);
        let (accepting, accepted) = watch::channel(accepted);
        let caller = Self {
            controls,
            open: true,
            events,
            acknowledged,
            accepted: accepting,
        };
        let ends = Ends {
            control,
            events: ExecEvents::new(told, offset, acknowledging),
            accepted,
        };
        (caller, ends)
    }
}

/// Says what the caller has to say, as messages of a protocol. When the caller gives
/// this end up and keeps the other, standard input ends, and the command goes on: this
/// future never ends by itself.
pub async fn say<E, M>(
    outgoing: &mut Outgoing,
    caller: &mut Caller<E>,
    mut taken: watch::Receiver<Taken>,
    requests: &mpsc::Sender<M>,
    message: impl Fn(Said) -> M,
) -> Infallible {
    let (mut taking, mut acknowledging) = (true, true);
    loop {
        tokio::select! {
            place = requests.reserve(), if outgoing.has_next() => match place {
                Ok(place) => if let Some(said) = outgoing.next_said() {
                    place.send(message(said));
                },
                // the connection broke, which is noticed where it is read
                Err(_) => return pending().await,
            },
            control = caller.controls.recv(), if caller.open && !outgoing.is_full() => {
                if control.is_none() && caller.events.is_closed() {
                    // it let go of everything, which the other side of this notices
                    return pending().await;
                }
                caller.open = control.is_some();
                outgoing.take(control.unwrap_or(ExecControl::CloseStdin));
            }
            changed = taken.changed(), if taking => {
                taking = changed.is_ok();
                let taken = *taken.borrow_and_update();
                outgoing.accept(taken);
                caller.accepted.send_replace(taken.accepted);
            }
            changed = caller.acknowledged.changed(), if acknowledging => {
                acknowledging = changed.is_ok();
                outgoing.acknowledge(*caller.acknowledged.borrow_and_update());
            }
        }
    }
}

#[cfg(test)]
mod tests;
