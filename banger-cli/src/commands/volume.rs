//! `banger volume …`.

use banger_core::{domain::VolumeName, volume::CreateVolume};

use super::{each, lines};
use crate::{
    context::Context,
    error::CliError,
    output::{VolumeOutput, volume_details, volume_table},
};

pub(super) async fn create(context: &Context, request: CreateVolume) -> Result<(), CliError> {
    let volume = context.services.volumes.create(request).await?;
    let name = || format!("{}\n", volume.name);
    context.print(&VolumeOutput::from(&volume), name).await
}

pub(super) async fn list(context: &Context) -> Result<(), CliError> {
    let volumes = context.services.volumes.list().await?;
    let output: Vec<VolumeOutput> = volumes.iter().map(VolumeOutput::from).collect();
    context.print(&output, || volume_table(&volumes)).await
}

pub(super) async fn show(context: &Context, name: &VolumeName) -> Result<(), CliError> {
    let volume = context.services.volumes.show(name).await?;
    let output = VolumeOutput::from(&volume);
    context.print(&output, || volume_details(&volume)).await
}

pub(super) async fn delete(context: &Context, volumes: &[VolumeName]) -> Result<u8, CliError> {
    let delete = async |name: &VolumeName| Ok(context.services.volumes.delete(name).await?);
    let (deleted, status) = each(context, volumes, delete).await;
    let output: Vec<VolumeOutput> = deleted.iter().map(VolumeOutput::from).collect();
    let names = || lines(deleted.iter().map(|volume| &volume.name));
    context.print(&output, names).await?;
    Ok(status)
}
