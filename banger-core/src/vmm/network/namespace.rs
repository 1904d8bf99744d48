//! A network namespace around a VMM that has no user network of its own.
//!
//! ```text
//! VMM -- guest0 -- bridge0 -- helper0 -- slirp4netns -- sockets of the user
//! '-------- namespaces of the VMM -----'
//! ```
//!
//! The VMM is put into a user and a network namespace between fork and exec (one
//! in a jail, whose jailer needs to be root, into the latter alone).
//! There is nothing in them but two tap interfaces and a bridge between: what
//! the guest sends reaches the helper and nobody else. Invariants: the VMM
//! keeps its user's ids and so runs without any capability, in there too; the
//! namespaces end with the last process in them, and everything of theirs with them.
//! Entry points: [`enclose`], [`enclose_as_root`], [`Enclosure::failure`].

use std::io;

use banger_proto::rtnetlink::{attach, new_bridge};
use tokio::process::Command;

use super::NetworkError;
use crate::sys::namespace::{
    Identity, NamespaceReport, NamespaceStep, NetworkNamespace, Tap, enter_network,
};

/// The interface that the VMM opens.
pub(crate) const GUEST_TAP: &str = "guest0";
/// The interface that the helper opens.
pub(super) const HELPER_TAP: &str = "helper0";
/// What joins the two.
const BRIDGE: &str = "bridge0";
/// The bridge's index, far from those that the kernel gives by itself.
pub(super) const BRIDGE_INDEX: u32 = 1000;

/// A VMM's namespaces in the making.
#[derive(Debug)]
pub(crate) struct Enclosure(NamespaceReport);

/// Has a VMM that is about to be started live in namespaces of its own.
pub(crate) fn enclose(command: &mut Command) -> io::Result<Enclosure> {
    enclose_in(command, plan())
}

/// The same for root, in no user namespace but the host's; the interfaces are
/// for whoever the process becomes.
pub(crate) fn enclose_as_root(command: &mut Command) -> io::Result<Enclosure> {
    let namespace = NetworkNamespace {
        identity: None,
        ..plan()
    };
    enclose_in(command, namespace)
}

pub(super) fn enclose_in(
    command: &mut Command,
    namespace: NetworkNamespace,
) -> io::Result<Enclosure> {
    enter_network(command, namespace).map(Enclosure)
}

impl Enclosure {
    /// Why the VMM could not be started, when it was for its namespaces.
    pub(crate) fn failure(&mut self) -> Option<NetworkError> {
        let (step, source) = self.0.failure()?;
        Some(match step {
            NamespaceStep::Namespaces | NamespaceStep::Identity => {
                NetworkError::Namespaces { source }
            }
            NamespaceStep::Taps => NetworkError::Tap { source },
            NamespaceStep::Interfaces => NetworkError::Interfaces { source },
        })
    }
}

/// What the VMM finds around it. Pure but for the ids of this process.
pub(super) fn plan() -> NetworkNamespace {
    NetworkNamespace {
        identity: Some(Identity::own()),
        taps: vec![Tap::new(GUEST_TAP), Tap::new(HELPER_TAP)],
        requests: vec![
            new_bridge(BRIDGE_INDEX, BRIDGE),
            attach(GUEST_TAP, BRIDGE_INDEX),
            attach(HELPER_TAP, BRIDGE_INDEX),
        ],
    }
}
