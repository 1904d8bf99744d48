//! Volumes: disks beside a VM's root.

use std::{collections::BTreeMap, time::SystemTime};

use camino::Utf8PathBuf;

use super::{Bytes, VmName, VolumeName};

/// A disk with a name, which outlives the VMs that use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Unique name.
    pub name: VolumeName,
    /// How large it is.
    pub size: Bytes,
    /// When it was made.
    pub created: SystemTime,
    /// The VMs that have it, by name; it cannot be deleted meanwhile.
    pub users: Vec<VmName>,
    /// What whoever made it knows it by.
    pub labels: BTreeMap<String, String>,
}

/// A volume as a VM has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmVolume {
    /// What it is made of.
    pub source: VolumeSource,
    /// Absolute path in the guest at which it is found.
    pub target: String,
    /// Whether the guest can only read it.
    pub read_only: bool,
}

/// What a VM's volume is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VolumeSource {
    /// A named volume: one VM at a time may write to it, or several read it.
    Named(VolumeName),
    /// A disk in a file of the user, which is only read.
    Disk(Utf8PathBuf),
    /// A copy, the VM's own, of what was in this directory of the host when the
    /// VM was made.
    Directory(Utf8PathBuf),
}
