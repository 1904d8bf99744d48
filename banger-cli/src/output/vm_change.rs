//! What happened to VMs.

use banger_core::domain::VmChange;
use serde::Serialize;

use super::{
    time, timestamp,
    vm::{ExitOutput, exit},
};

/// A change of a VM, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VmChangeOutput {
    number: u64,
    at: Option<String>,
    vm_id: String,
    vm_name: String,
    change: &'static str,
    state: &'static str,
    reason: String,
    exit: Option<ExitOutput>,
    generation: u64,
}

impl From<&VmChange> for VmChangeOutput {
    fn from(change: &VmChange) -> Self {
        Self {
            number: change.sequence,
            at: timestamp(change.at),
            vm_id: change.vm.to_string(),
            vm_name: change.name.to_string(),
            change: change.kind.as_str(),
            state: change.state.as_str(),
            reason: change.reason.clone(),
            exit: change.exit.as_ref().map(exit),
            generation: change.generation,
        }
    }
}

/// A change of a VM for people, on one line.
#[must_use]
pub fn change_line(change: &VmChange) -> String {
    let reason: String = change
        .reason
        .chars()
        .filter(|character| !character.is_control())
        .collect();
    format!(
        "{} {} {} {} {}: {reason}\n",
        change.sequence,
        time(change.at),
        change.name,
        change.kind.as_str(),
        change.state.as_str(),
    )
}
