//! Why a machine did not come up, as a kind that programs can act on.
//!
//! Invariants: a name is never given another meaning; every failure has one
//! [`ErrorKind`]. Entry points: [`BootFailure`].

use super::SpawnFailure;
use crate::error::ErrorKind;

/// Why a machine did not come up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BootFailure {
    /// The VMM's program could not be started.
    VmmNotStarted,
    /// The VMM ended before the guest had said why it should.
    VmmDied,
    /// The kernel gave up.
    KernelPanic,
    /// The guest's memory does not suffice for its kernel and initrd, or ran
    /// out while it booted.
    OutOfMemory,
    /// A disk of the root did not appear or cannot be mounted.
    RootDisk,
    /// The disk that takes the writes is full.
    DiskFull,
    /// The host's disk with the VM's files is full.
    HostDiskFull,
    /// A volume did not appear or cannot be mounted.
    Volume,
    /// A volume is in use by another VM in a way that excludes this use.
    VolumeInUse,
    /// The image has no init that the machine could be handed over to.
    NoInit,
    /// The image's command does not exist in the guest.
    CommandNotFound,
    /// The image's command exists and cannot be run.
    CommandNotExecutable,
    /// The command's user or working directory does not exist in the guest.
    CommandInvalid,
    /// The guest said nothing within the time it had.
    NoAnswer,
    /// Somebody stopped the VM while it booted.
    Stopped,
    /// Something else; the cause says what.
    Other,
}

impl BootFailure {
    /// Every failure.
    pub const ALL: [Self; 16] = [
        Self::VmmNotStarted,
        Self::VmmDied,
        Self::KernelPanic,
        Self::OutOfMemory,
        Self::RootDisk,
        Self::DiskFull,
        Self::HostDiskFull,
        Self::Volume,
        Self::VolumeInUse,
        Self::NoInit,
        Self::CommandNotFound,
        Self::CommandNotExecutable,
        Self::CommandInvalid,
        Self::NoAnswer,
        Self::Stopped,
        Self::Other,
    ];

    /// The failure's name, as machines read it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::VmmNotStarted => "vmm_not_started",
            Self::VmmDied => "vmm_died",
            Self::KernelPanic => "kernel_panic",
            Self::OutOfMemory => "out_of_memory",
            Self::RootDisk => "root_disk",
            Self::DiskFull => "disk_full",
            Self::HostDiskFull => "host_disk_full",
            Self::Volume => "volume",
            Self::VolumeInUse => "volume_in_use",
            Self::NoInit => "no_init",
            Self::CommandNotFound => "command_not_found",
            Self::CommandNotExecutable => "command_not_executable",
            Self::CommandInvalid => "command_invalid",
            Self::NoAnswer => "no_answer",
            Self::Stopped => "stopped",
            Self::Other => "other",
        }
    }

    /// The failure with that name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|failure| failure.as_str() == name)
    }

    /// The classification of the failure.
    #[must_use]
    pub const fn kind(self) -> ErrorKind {
        match self {
            Self::VmmNotStarted => ErrorKind::Unsupported,
            Self::OutOfMemory | Self::DiskFull | Self::HostDiskFull => ErrorKind::ResourceExhausted,
            Self::RootDisk | Self::Volume => ErrorKind::Corrupt,
            Self::VolumeInUse | Self::Stopped => ErrorKind::Conflict,
            Self::NoInit | Self::CommandInvalid => ErrorKind::InvalidInput,
            Self::CommandNotFound => ErrorKind::NotFound,
            Self::CommandNotExecutable => ErrorKind::PermissionDenied,
            Self::NoAnswer => ErrorKind::Timeout,
            Self::VmmDied | Self::KernelPanic | Self::Other => ErrorKind::Internal,
        }
    }

    /// Why a boot failed whose command could not be started.
    pub(super) const fn of_spawn(failure: SpawnFailure) -> Self {
        match failure {
            SpawnFailure::NotFound => Self::CommandNotFound,
            SpawnFailure::NotExecutable => Self::CommandNotExecutable,
            SpawnFailure::BadWorkingDirectory
            | SpawnFailure::UnknownUser
            | SpawnFailure::InvalidRequest => Self::CommandInvalid,
            SpawnFailure::Resources => Self::OutOfMemory,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_failure_has_a_name_of_its_own() {
        let names: BTreeSet<_> = BootFailure::ALL.map(BootFailure::as_str).into();
        assert_eq!(names.len(), BootFailure::ALL.len());
        for failure in BootFailure::ALL {
            assert_eq!(BootFailure::named(failure.as_str()), Some(failure));
        }
        assert_eq!(BootFailure::named("surprise"), None);
    }
}
