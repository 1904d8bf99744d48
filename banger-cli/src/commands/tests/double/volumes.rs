//! The double's volumes.

use std::time::SystemTime;

use async_trait::async_trait;
use banger_core::{
    domain::{Volume, VolumeName},
    volume::{CreateVolume, CreateVolumeError, DeleteVolumeError, VolumeManager, VolumeQueryError},
};

use super::{World, lock};

#[async_trait]
impl VolumeManager for World {
    async fn create(&self, request: CreateVolume) -> Result<Volume, CreateVolumeError> {
        self.call(format!("create volume {}", request.name));
        let mut volumes = lock(&self.volumes);
        if volumes.iter().any(|volume| volume.name == request.name) {
            return Err(CreateVolumeError::AlreadyExists { name: request.name });
        }
        let volume = Volume {
            name: request.name,
            size: request.size,
            created: SystemTime::UNIX_EPOCH,
            users: Vec::new(),
            labels: request.labels,
        };
        volumes.push(volume.clone());
        Ok(volume)
    }

    async fn list(&self) -> Result<Vec<Volume>, VolumeQueryError> {
        self.call("list volumes");
        Ok(lock(&self.volumes).clone())
    }

    async fn show(&self, name: &VolumeName) -> Result<Volume, VolumeQueryError> {
        self.call(format!("show volume {name}"));
        let volumes = lock(&self.volumes);
        let found = volumes.iter().find(|volume| volume.name == *name);
        let name = name.clone();
        found.cloned().ok_or(VolumeQueryError::NotFound { name })
    }

    async fn delete(&self, name: &VolumeName) -> Result<Volume, DeleteVolumeError> {
        let volume = self.show(name).await?;
        lock(&self.volumes).retain(|other| other.name != *name);
        Ok(volume)
    }
}
