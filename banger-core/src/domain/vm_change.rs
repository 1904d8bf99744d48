//! What happened to VMs.

use std::time::SystemTime;

use super::{VmExit, VmId, VmName, VmState};

/// One published change of a VM's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmChange {
    /// Its number, never used twice; later ones are greater.
    pub sequence: u64,
    /// When, to the millisecond.
    pub at: SystemTime,
    /// The VM.
    pub vm: VmId,
    /// The VM's name.
    pub name: VmName,
    /// What was done to the record.
    pub kind: VmChangeKind,
    /// The state after the change; before a removal.
    pub state: VmState,
    /// Why it is in that state, one line.
    pub reason: String,
    /// How the last boot ended.
    pub exit: Option<VmExit>,
    /// The record's generation after the change.
    pub generation: u64,
    /// Whose it was: the label `banger.owner` of its record.
    pub owner: Option<String>,
}

/// What was done to a VM's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VmChangeKind {
    /// It was made.
    Created,
    /// Something in it is new.
    Changed,
    /// It is gone.
    Removed,
}

impl VmChangeKind {
    /// Every change.
    pub const ALL: [Self; 3] = [Self::Created, Self::Changed, Self::Removed];

    /// The change's name, as stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Removed => "removed",
        }
    }
}
