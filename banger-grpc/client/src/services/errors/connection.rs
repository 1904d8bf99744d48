//! Errors of connections into guests.

use banger_api::v1::ErrorReason;
use banger_core::{
    domain::VmName,
    vm::{ConnectError, ConnectFailure, GuestAddress, VmQueryError},
};

use super::{FromServer, OBJECT, after, fact, state};
use crate::Failure;

impl Failure {
    /// The same of a connection into that machine, which is named here.
    pub(in crate::services) fn of_connection(
        self,
        vm: &VmName,
        address: GuestAddress,
    ) -> ConnectError {
        let name = vm.clone();
        let refused = format!("{address} of VM {name} cannot be connected to: ");
        let broke = format!("a connection to {address} of VM {name} broke: ");
        let failure = self.facts.get("failure").and_then(|sort| {
            let mut sorts = ConnectFailure::ALL.into_iter();
            sorts.find(|one| one.as_str() == sort)
        });
        match (self.reason, failure) {
            (Some(ErrorReason::PortRefused), Some(failure)) => ConnectError::Refused {
                message: after(&self, &refused),
                name,
                address,
                failure,
            },
            (Some(ErrorReason::PortBroken), _) => ConnectError::Broken {
                message: after(&self, &broke),
                name,
                address,
            },
            _ => ConnectError::from_server(self),
        }
    }
}

impl FromServer for ConnectError {
    fn known(failure: &Failure) -> Option<Self> {
        let name = || fact::<VmName>(failure, OBJECT);
        match failure.reason? {
            ErrorReason::VmWrongState => Some(Self::NotRunning {
                name: name()?,
                state: state(failure)?,
            }),
            ErrorReason::VmLost => {
                let name = name()?;
                Some(Self::VmLost {
                    problem: after(failure, &format!("VM {name} went away: ")),
                    name,
                })
            }
            _ => VmQueryError::known(failure).map(Self::Query),
        }
    }
}
