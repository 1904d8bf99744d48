//! What a prune of VMs removed.

use banger_core::vm::PrunedVms;
use serde::Serialize;

use super::VmOutput;

/// A prune of VMs, as JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PrunedVmsOutput {
    dry_run: bool,
    removed: Vec<VmOutput>,
    freed_bytes: u64,
}

impl PrunedVmsOutput {
    /// What a prune did, or would do.
    #[must_use]
    pub fn new(pruned: &PrunedVms, dry_run: bool) -> Self {
        Self {
            dry_run,
            removed: pruned.removed.iter().map(VmOutput::from).collect(),
            freed_bytes: pruned.freed.get(),
        }
    }
}

/// A prune of VMs for people: names, and how much that is.
#[must_use]
pub fn pruned_vm_lines(pruned: &PrunedVms, dry_run: bool) -> String {
    let names = pruned.removed.iter().map(|vm| format!("{}\n", vm.name));
    let verb = if dry_run { "would free" } else { "freed" };
    format!("{}{verb} {}\n", names.collect::<String>(), pruned.freed)
}
