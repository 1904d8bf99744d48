//! What commands print on standard output.
//!
//! Purpose: JSON types of our own, and texts for people. Invariants: the JSON
//! is a promise: keys are snake case, sizes are bytes, times are RFC 3339 in
//! UTC, a key is never missing (null says "none"); texts from outside are made
//! safe for a terminal. Entry points: [`ImageOutput`], [`KernelOutput`],
//! [`VmOutput`], [`table`].

mod catalog;
mod copied;
mod disk;
mod doctor;
mod exec;
mod forward;
mod image;
mod kernel;
mod ports;
mod prune;
mod pruned_vms;
mod rootfs;
mod snapshot;
mod table;
mod vm;
mod vm_change;
mod vm_stats;
mod volume;

use std::time::SystemTime;

use banger_core::domain::{BootArtifacts, Verdict, Vouched};
use jiff::Timestamp;
use serde::Serialize;

pub use catalog::{BundleOutput, CatalogEntryOutput, catalog_table};
pub use copied::CopiedOutput;
pub use disk::{DifferenceOutput, EntryOutput, difference_lines, entry_lines};
pub use doctor::{CheckOutput, check_lines};
pub use exec::{ExecOutput, StartedExecOutput, exec_table};
pub use forward::{ForwardOutput, forward_lines};
pub use image::{ImageOutput, SavedOutput, image_details, image_table};
pub use kernel::{KernelOutput, kernel_details, kernel_table};
pub use ports::{PortOutput, bound_ports, port_lines};
pub use prune::{PrunedOutput, pruned_lines};
pub use pruned_vms::{PrunedVmsOutput, pruned_vm_lines};
pub use rootfs::{RootfsOutput, rootfs_details};
pub use snapshot::{SnapshotOutput, snapshot_details, snapshot_table};
pub use table::{details, table};
pub use vm::{VmOutput, vm_details, vm_table};
pub use vm_change::{VmChangeOutput, change_line};
pub use vm_stats::{VmStatsOutput, vm_stats_table};
pub use volume::{VolumeOutput, volume_details, volume_table};

/// The version, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VersionOutput {
    /// The program's version.
    pub version: &'static str,
}

/// A kernel triple, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BootOutput {
    kernel: String,
    initrd: Option<String>,
    modules: Option<String>,
}

impl From<&BootArtifacts> for BootOutput {
    fn from(boot: &BootArtifacts) -> Self {
        Self {
            kernel: boot.kernel.to_string(),
            initrd: boot.initrd.as_ref().map(ToString::to_string),
            modules: boot.modules.as_ref().map(ToString::to_string),
        }
    }
}

/// What a policy decided, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerdictOutput {
    rule: String,
    signed_by: Option<String>,
}

impl From<&Verdict> for VerdictOutput {
    fn from(verdict: &Verdict) -> Self {
        let signer = verdict.vouched.to_string();
        Self {
            rule: verdict.rule.clone(),
            signed_by: (verdict.vouched != Vouched::Nobody).then_some(signer),
        }
    }
}

/// The same for people.
fn verdict_text(verdict: Option<&Verdict>) -> String {
    match verdict {
        None => "not asked".to_owned(),
        Some(verdict) if verdict.vouched == Vouched::Nobody => {
            format!("accepted by {}", verdict.rule)
        }
        Some(verdict) => format!("signed by {} ({})", verdict.vouched, verdict.rule),
    }
}

/// RFC 3339 in UTC; the years that it cannot say are left out.
fn timestamp(time: SystemTime) -> Option<String> {
    Timestamp::try_from(time).ok().map(|time| time.to_string())
}

/// The same to the second, for people.
fn time(time: SystemTime) -> String {
    let time = Timestamp::try_from(time);
    time.map_or_else(
        |_| "-".to_owned(),
        |time| time.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
    )
}

#[cfg(test)]
mod tests;
