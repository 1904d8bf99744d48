//! What commands print on standard output.
//!
//! Purpose: JSON types of our own, and texts for people. Invariants: the JSON
//! is a promise: keys are snake case, sizes are bytes, times are RFC 3339 in
//! UTC, a key is never missing (null says "none"); texts from outside are made
//! safe for a terminal. Entry points: [`ImageOutput`], [`KernelOutput`],
//! [`VmOutput`], [`table`].

mod disk;
mod image;
mod kernel;
mod prune;
mod rootfs;
mod table;
mod vm;

use std::time::SystemTime;

use banger_core::domain::BootArtifacts;
use jiff::Timestamp;
use serde::Serialize;

pub use disk::{DifferenceOutput, EntryOutput, difference_lines, entry_lines};
pub use image::{ImageOutput, SavedOutput, image_details, image_table};
pub use kernel::{KernelOutput, kernel_details, kernel_table};
pub use prune::{PrunedOutput, pruned_lines};
pub use rootfs::{RootfsOutput, rootfs_details};
pub use table::{details, table};
pub use vm::{VmOutput, vm_details, vm_table};

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
