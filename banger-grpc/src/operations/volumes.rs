//! Work on volumes.
//!
//! Invariants: an operation makes at most one volume, which carries its id in the row
//! that makes it exist; one of a name is told from another of it by its uid.

use banger_api::v1::{
    CreateVolumeRequest, DeleteVolumeRequest, PhaseKind, VmSpec, VmVolume, operation::Outcome,
    vm_volume::Source,
};
use banger_core::{
    domain::{Bytes, Volume, VolumeName},
    volume::{CreateVolume, CreateVolumeError, DeleteVolumeError, VolumeQueryError},
};

use super::{
    artifacts::settled,
    machines::{Outcomes, owner},
    work::Context,
};
use crate::{
    backend::Backend,
    convert::{self, vm::OPERATION_LABEL, volume::volume_uid},
    fault::{Fault, volume_not_found},
    request::{Checks, name::VOLUMES},
};

/// What the core is to make. Pure.
pub(crate) fn volume_request(request: &CreateVolumeRequest) -> Result<CreateVolume, Fault> {
    let mut checks = Checks::default();
    let name = checks.parse::<VolumeName>("volume_id", &request.volume_id);
    checks.finish()?;
    Ok(CreateVolume {
        // it is there, or the checks had not finished
        name: name.ok_or_else(|| Fault::invalid(Vec::new()))?,
        size: Bytes::new(request.size_bytes),
        labels: [].into(),
    })
}

/// Settles which volumes a machine is to have: those of their names that there are now,
/// if whoever asks sees them, and no others of these names later.
pub(crate) async fn settle_volumes(
    backend: &Backend,
    wanted: &mut [VmVolume],
    sees: impl Fn(&Volume) -> bool,
) -> Result<(), Fault> {
    for volume in wanted {
        let Some(Source::Volume(name)) = &volume.source else {
            continue;
        };
        let mut checks = Checks::default();
        let id = VOLUMES.id("spec.volumes", name, &mut checks);
        let name = id.and_then(|id| checks.parse("spec.volumes", id));
        checks.finish()?;
        let name = name.ok_or_else(|| Fault::invalid(Vec::new()))?;
        let found = find(backend, &name).await?.filter(&sees);
        let uid = found.map(|one| volume_uid(&one)).unwrap_or_default();
        if uid.is_empty() || !(volume.volume_uid.is_empty() || volume.volume_uid == uid) {
            return Err(volume_not_found(&name));
        }
        volume.volume_uid = uid;
    }
    Ok(())
}

/// Whether a path of the host is among them.
pub(crate) fn have_host_path(wanted: Option<&VmSpec>) -> bool {
    let is_path = |volume: &VmVolume| matches!(volume.source, Some(Source::HostPath(_)));
    wanted.is_some_and(|spec| spec.volumes.iter().any(is_path))
}

async fn find(backend: &Backend, name: &VolumeName) -> Result<Option<Volume>, Fault> {
    match backend.volumes.show(name).await {
        Ok(volume) => Ok(Some(volume)),
        Err(VolumeQueryError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "it is what every sort of work ends with"
)]
fn outcome(volume: &Volume) -> Outcomes {
    Ok(Some(Outcome::Volume(convert::volume::volume(volume))))
}

/// The volume, if this operation made it.
async fn made(context: &Context, name: &VolumeName) -> Result<Option<Volume>, Fault> {
    let operation = context.operation.id.to_string();
    let ours = |one: &Volume| one.labels.get(OPERATION_LABEL) == Some(&operation);
    Ok(find(&context.backend, name).await?.filter(ours))
}

pub(super) async fn create(context: &Context, request: &CreateVolumeRequest) -> Outcomes {
    let mut create = volume_request(request)?;
    let name = create.name.clone();
    let operation = context.operation.id.to_string();
    create.labels.insert(OPERATION_LABEL.to_owned(), operation);
    create.labels.extend(owner(context).await?);
    let creating = context.backend.volumes.create(create);
    match context.phase(PhaseKind::Create, creating).await {
        Ok(volume) => outcome(&volume),
        Err(error @ CreateVolumeError::AlreadyExists { .. }) => match made(context, &name).await? {
            // a server that is gone made it
            Some(volume) => outcome(&volume),
            None => Err(error.into()),
        },
        Err(error) => Err(error.into()),
    }
}

/// Removes a volume that was made and is not wanted any more.
pub(super) async fn undo_create(
    context: &Context,
    request: &CreateVolumeRequest,
) -> Result<(), Fault> {
    let name = volume_request(request)?.name;
    if made(context, &name).await?.is_none() {
        return Ok(());
    }
    match context.backend.volumes.delete(&name).await {
        Ok(_) | Err(DeleteVolumeError::Query(VolumeQueryError::NotFound { .. })) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn delete(context: &Context, request: &DeleteVolumeRequest) -> Outcomes {
    let Some(id) = settled(&request.name, "volumes/") else {
        return Ok(None);
    };
    let mut checks = Checks::default();
    let name = checks.parse::<VolumeName>("name", id);
    checks.finish()?;
    let name = name.ok_or_else(|| Fault::invalid(Vec::new()))?;
    let found = find(&context.backend, &name).await?;
    // another one of that name is not the one that was meant
    let is_meant = found.is_some_and(|one| volume_uid(&one) == request.uid);
    let deleting = async {
        if is_meant {
            return context.backend.volumes.delete(&name).await;
        }
        let name = name.clone();
        Err(VolumeQueryError::NotFound { name }.into())
    };
    match context.phase(PhaseKind::Delete, deleting).await {
        Ok(volume) => outcome(&volume),
        Err(DeleteVolumeError::Query(VolumeQueryError::NotFound { .. }))
            if request.allow_missing || context.is_resumed() =>
        {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}
