//! Named volumes: disks that outlive the VMs that use them.
//!
//! Purpose: make, list and delete them. Invariants: a volume is whole before it
//! has a record, and its record goes before its disk, so that a crash leaves at
//! most a directory that no record names; one that a VM has is not deleted; the
//! lock on a volume's disk says who uses it, exclusively by its one writer.
//! Entry points: [`VolumeManager`], [`LocalVolumeManager`].

mod error;
mod local;

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::domain::{Bytes, Volume, VolumeName};

pub use error::{CreateVolumeError, DeleteVolumeError, ReconcileVolumesError, VolumeQueryError};
pub use local::LocalVolumeManager;

/// What to make a volume of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateVolume {
    /// Its name.
    pub name: VolumeName,
    /// Its size, at least 16 MiB. The disk is sparse: it takes what is written.
    pub size: Bytes,
    /// What its maker knows it by.
    pub labels: BTreeMap<String, String>,
}

/// Manages volumes. All methods may be called concurrently, from several
/// processes.
#[async_trait]
pub trait VolumeManager: Send + Sync + std::fmt::Debug {
    /// Makes an empty volume. Cancelling leaves none.
    async fn create(&self, request: CreateVolume) -> Result<Volume, CreateVolumeError>;

    /// Every volume, by name.
    async fn list(&self) -> Result<Vec<Volume>, VolumeQueryError>;

    /// The volume of that name.
    async fn show(&self, name: &VolumeName) -> Result<Volume, VolumeQueryError>;

    /// Removes a volume and all that is on it. Refused while a VM has it.
    async fn delete(&self, name: &VolumeName) -> Result<Volume, DeleteVolumeError>;
}
