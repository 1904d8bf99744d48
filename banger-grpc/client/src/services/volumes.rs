//! Named volumes of a server.

use async_trait::async_trait;
use banger_api::v1::{
    CreateVolumeRequest, DeleteVolumeRequest, GetVolumeRequest, ListVolumesRequest,
    operation::Outcome,
};
use banger_core::{
    domain::{Volume, VolumeName},
    progress::NoProgress,
    volume::{CreateVolume, CreateVolumeError, DeleteVolumeError, VolumeManager, VolumeQueryError},
};

use super::{Server, errors::FromServer as _, images::PAGE, records, work::OnDrop};
use crate::Failure;

#[derive(Debug)]
pub(super) struct RemoteVolumes(pub(super) Server);

fn name_of(name: &VolumeName) -> String {
    format!("volumes/{name}")
}

fn volume(outcome: Option<Outcome>) -> Result<Volume, Failure> {
    match outcome {
        Some(Outcome::Volume(volume)) => records::volume(&volume),
        _ => Err(Failure::confused("the volume", "it is missing")),
    }
}

impl Server {
    async fn volumes(&self) -> Result<Vec<Volume>, Failure> {
        let listed = self.pages(|page_token| async {
            let request = ListVolumesRequest {
                page_size: PAGE,
                page_token,
                ..ListVolumesRequest::default()
            };
            let page = self.read(|| {
                let (request, mut volumes) = (request.clone(), self.client.volumes());
                async move { volumes.list_volumes(request).await }
            });
            let page = page.await?;
            let volumes = page.volumes.iter().map(records::volume);
            Ok((volumes.collect::<Result<_, _>>()?, page.next_page_token))
        });
        listed.await
    }

    async fn volume(&self, name: &VolumeName) -> Result<Volume, Failure> {
        let name = name_of(name);
        let found = self.read(|| {
            let (name, mut volumes) = (name.clone(), self.client.volumes());
            async move { volumes.get_volume(GetVolumeRequest { name }).await }
        });
        records::volume(&records::present(found.await?.volume, &name)?)
    }
}

#[async_trait]
impl VolumeManager for RemoteVolumes {
    async fn create(&self, request: CreateVolume) -> Result<Volume, CreateVolumeError> {
        let create = CreateVolumeRequest {
            volume_id: request.name.to_string(),
            size_bytes: request.size.get(),
            ..CreateVolumeRequest::default()
        };
        let created = self.0.carry_out(create, OnDrop::Cancel, &NoProgress).await;
        created
            .and_then(volume)
            .map_err(CreateVolumeError::from_server)
    }

    async fn list(&self) -> Result<Vec<Volume>, VolumeQueryError> {
        let all = self.0.volumes().await;
        all.map_err(VolumeQueryError::from_server)
    }

    async fn show(&self, name: &VolumeName) -> Result<Volume, VolumeQueryError> {
        let found = self.0.volume(name).await;
        found.map_err(VolumeQueryError::from_server)
    }

    async fn delete(&self, name: &VolumeName) -> Result<Volume, DeleteVolumeError> {
        let delete = DeleteVolumeRequest {
            name: name_of(name),
            ..DeleteVolumeRequest::default()
        };
        let deleted = self.0.carry_out(delete, OnDrop::Leave, &NoProgress).await;
        deleted
            .and_then(volume)
            .map_err(DeleteVolumeError::from_server)
    }
}
