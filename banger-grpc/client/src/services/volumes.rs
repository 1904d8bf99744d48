//! Volumes, which a server does not tell of.

use async_trait::async_trait;
use banger_core::{
    domain::{Volume, VolumeName},
    remote::RemoteError,
    volume::{CreateVolume, CreateVolumeError, DeleteVolumeError, VolumeManager, VolumeQueryError},
};

#[derive(Debug)]
pub(super) struct RemoteVolumes;

fn refused() -> RemoteError {
    RemoteError::unsupported("volumes")
}

#[async_trait]
impl VolumeManager for RemoteVolumes {
    async fn create(&self, _request: CreateVolume) -> Result<Volume, CreateVolumeError> {
        Err(refused().into())
    }

    async fn list(&self) -> Result<Vec<Volume>, VolumeQueryError> {
        Err(refused().into())
    }

    async fn show(&self, _name: &VolumeName) -> Result<Volume, VolumeQueryError> {
        Err(refused().into())
    }

    async fn delete(&self, _name: &VolumeName) -> Result<Volume, DeleteVolumeError> {
        Err(refused().into())
    }
}
