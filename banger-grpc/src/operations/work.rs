//! The sorts of work, as they are remembered and as they are done.
//!
//! Invariants: every sort can be done again by a server that does not know how far
//! the one before it came; what is remembered names objects by what is never used
//! again, where there is such a thing. Entry points: [`Work`], [`Context`].

use std::sync::Arc;

use banger_api::v1::{
    self, BuildImageRequest, CreateSnapshotRequest, CreateVmRequest, CreateVolumeRequest,
    DeleteImageRequest, DeleteKernelRequest, DeleteSnapshotRequest, DeleteVmRequest,
    DeleteVolumeRequest, ErrorReason, ImportKernelRequest, LoadImageRequest, OperationKind,
    PauseVmRequest, PhaseKind, PromoteImageRequest, PruneImageCacheRequest, PullImageRequest,
    PullKernelRequest, RegisterImageRequest, RestoreVmRequest, ResumeVmRequest, StartVmRequest,
    StopVmRequest, UpdateVmRequest, operation::Outcome,
};
use banger_core::domain::{Image, ImageName, Operation, Selector};
use prost::Message;
use sha2::{Digest as _, Sha256};

use super::{
    artifacts, build, images, journal::Journal, load, machines, snapshots, update, volumes,
};
use crate::{
    backend::Backend,
    convert::operation::{kind_name, kind_of_name},
    fault::Fault,
    request::name::{IMAGES, KERNELS, VMS, VOLUMES},
    uploads::{Held, Key},
};

/// What is to be done: a request whose names are settled, without its id and
/// without how long its caller waits.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "one lives while its operation is begun"
)]
pub(crate) enum Work {
    PullImage(PullImageRequest),
    LoadImage(LoadImageRequest),
    BuildImage(BuildImageRequest),
    DeleteImage(DeleteImageRequest),
    ImportKernel(ImportKernelRequest),
    PullKernel(PullKernelRequest),
    DeleteKernel(DeleteKernelRequest),
    CreateVm(CreateVmRequest),
    StartVm(StartVmRequest),
    StopVm(StopVmRequest),
    DeleteVm(DeleteVmRequest),
    UpdateVm(UpdateVmRequest),
    PauseVm(PauseVmRequest),
    ResumeVm(ResumeVmRequest),
    CreateSnapshot(CreateSnapshotRequest),
    DeleteSnapshot(DeleteSnapshotRequest),
    RestoreVm(RestoreVmRequest),
    RegisterImage(RegisterImageRequest),
    PromoteImage(PromoteImageRequest),
    PruneImageCache(PruneImageCacheRequest),
    CreateVolume(CreateVolumeRequest),
    DeleteVolume(DeleteVolumeRequest),
}

macro_rules! for_each_kind {
    ($work:expr, $request:ident => $answer:expr) => {
        match $work {
            Work::PullImage($request) => $answer,
            Work::LoadImage($request) => $answer,
            Work::BuildImage($request) => $answer,
            Work::DeleteImage($request) => $answer,
            Work::ImportKernel($request) => $answer,
            Work::PullKernel($request) => $answer,
            Work::DeleteKernel($request) => $answer,
            Work::CreateVm($request) => $answer,
            Work::StartVm($request) => $answer,
            Work::StopVm($request) => $answer,
            Work::DeleteVm($request) => $answer,
            Work::UpdateVm($request) => $answer,
            Work::PauseVm($request) => $answer,
            Work::ResumeVm($request) => $answer,
            Work::CreateSnapshot($request) => $answer,
            Work::DeleteSnapshot($request) => $answer,
            Work::RestoreVm($request) => $answer,
            Work::RegisterImage($request) => $answer,
            Work::PromoteImage($request) => $answer,
            Work::PruneImageCache($request) => $answer,
            Work::CreateVolume($request) => $answer,
            Work::DeleteVolume($request) => $answer,
        }
    };
}

impl Work {
    /// The work that an operation is.
    pub(crate) fn of(operation: &Operation) -> Result<Self, Fault> {
        let decoded = decode(kind_of_name(&operation.kind), &operation.request);
        decoded.ok_or_else(|| {
            let message = format!("operation {} is none that this server knows", operation.id);
            Fault::new(ErrorReason::CorruptData, message)
        })
    }

    const fn kind(&self) -> OperationKind {
        match self {
            Self::PullImage(_) => OperationKind::PullImage,
            Self::LoadImage(_) => OperationKind::LoadImage,
            Self::BuildImage(_) => OperationKind::BuildImage,
            Self::DeleteImage(_) => OperationKind::DeleteImage,
            Self::ImportKernel(_) => OperationKind::ImportKernel,
            Self::PullKernel(_) => OperationKind::PullKernel,
            Self::DeleteKernel(_) => OperationKind::DeleteKernel,
            Self::CreateVm(_) => OperationKind::CreateVm,
            Self::StartVm(_) => OperationKind::StartVm,
            Self::StopVm(_) => OperationKind::StopVm,
            Self::DeleteVm(_) => OperationKind::DeleteVm,
            Self::UpdateVm(_) => OperationKind::UpdateVm,
            Self::PauseVm(_) => OperationKind::PauseVm,
            Self::ResumeVm(_) => OperationKind::ResumeVm,
            Self::CreateSnapshot(_) => OperationKind::CreateSnapshot,
            Self::DeleteSnapshot(_) => OperationKind::DeleteSnapshot,
            Self::RestoreVm(_) => OperationKind::RestoreVm,
            Self::RegisterImage(_) => OperationKind::RegisterImage,
            Self::PromoteImage(_) => OperationKind::PromoteImage,
            Self::PruneImageCache(_) => OperationKind::PruneImageCache,
            Self::CreateVolume(_) => OperationKind::CreateVolume,
            Self::DeleteVolume(_) => OperationKind::DeleteVolume,
        }
    }

    pub(super) fn kind_name(&self) -> String {
        kind_name(self.kind())
    }

    /// The name of what it is about, for people and lists.
    pub(super) fn target(&self) -> String {
        let named = |collection: crate::request::name::Collection, id: &str| match id {
            "" => String::new(),
            id => collection.name(id),
        };
        match self {
            Self::PullImage(request) => named(IMAGES, &request.image_id),
            Self::LoadImage(request) => named(IMAGES, load::known_name(request)),
            Self::BuildImage(request) => named(IMAGES, &request.image_id),
            Self::RegisterImage(request) => named(IMAGES, &request.image_id),
            Self::PruneImageCache(_) => String::new(),
            Self::ImportKernel(request) => named(KERNELS, &request.kernel_id),
            Self::CreateVm(request) => named(VMS, &request.vm_id),
            Self::DeleteImage(request) => request.name.clone(),
            Self::PromoteImage(request) => request.name.clone(),
            Self::DeleteKernel(request) => request.name.clone(),
            Self::PullKernel(request) => request.name.clone(),
            Self::StartVm(request) => request.name.clone(),
            Self::StopVm(request) => request.name.clone(),
            Self::DeleteVm(request) => request.name.clone(),
            Self::PauseVm(request) => request.name.clone(),
            Self::ResumeVm(request) => request.name.clone(),
            Self::CreateSnapshot(request) => request.vm.clone(),
            Self::DeleteSnapshot(request) => request.name.clone(),
            Self::RestoreVm(request) => named(VMS, &request.vm_id),
            Self::CreateVolume(request) => named(VOLUMES, &request.volume_id),
            Self::DeleteVolume(request) => request.name.clone(),
            Self::UpdateVm(request) => {
                let vm = request.vm.as_ref();
                vm.map(|vm| vm.name.clone()).unwrap_or_default()
            }
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        for_each_kind!(self, request => request.encode_to_vec())
    }

    /// What tells the request from another under the same id.
    pub(crate) fn digest(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.kind_name());
        hash.update([0]);
        hash.update(self.encode());
        hex::encode(hash.finalize())
    }

    /// The upload that it reads; none when it reads none.
    fn upload(&self) -> Option<Key> {
        let upload = match self {
            Self::PullImage(request) => &request.upload,
            Self::LoadImage(request) => &request.upload,
            Self::BuildImage(request) => &request.upload,
            Self::ImportKernel(request) => &request.upload,
            _ => return None,
        };
        Key::of_text(upload)
    }

    /// Whether several requests may share one operation.
    pub(super) const fn is_shareable(&self) -> bool {
        matches!(self, Self::PullImage(_))
    }

    /// Does it, or what is left of it to do.
    pub(super) async fn run(&self, context: &Context) -> Result<Option<Outcome>, Fault> {
        match self {
            Self::PullImage(request) => artifacts::pull_image(context, request).await,
            Self::LoadImage(request) => load::load_image(context, request).await,
            Self::BuildImage(request) => Box::pin(build::build_image(context, request)).await,
            Self::DeleteImage(request) => artifacts::delete_image(context, request).await,
            Self::ImportKernel(request) => artifacts::import_kernel(context, request).await,
            Self::PullKernel(request) => artifacts::pull_kernel(context, request).await,
            Self::DeleteKernel(request) => artifacts::delete_kernel(context, request).await,
            Self::CreateVm(request) => machines::create(context, request).await,
            Self::StartVm(request) => machines::start(context, request).await,
            Self::StopVm(request) => machines::stop(context, request).await,
            Self::DeleteVm(request) => machines::delete(context, request).await,
            Self::UpdateVm(request) => update::update(context, request).await,
            Self::PauseVm(request) => machines::pause(context, request).await,
            Self::ResumeVm(request) => machines::resume(context, request).await,
            Self::CreateSnapshot(request) => snapshots::create(context, request).await,
            Self::DeleteSnapshot(request) => snapshots::delete(context, request).await,
            Self::RestoreVm(request) => Box::pin(snapshots::restore(context, request)).await,
            Self::RegisterImage(request) => images::register(context, request).await,
            Self::PromoteImage(request) => images::promote(context, request).await,
            Self::PruneImageCache(request) => images::prune(context, request).await,
            Self::CreateVolume(request) => volumes::create(context, request).await,
            Self::DeleteVolume(request) => volumes::delete(context, request).await,
        }
    }

    /// Removes what it made, after it was given up.
    pub(super) async fn undo(&self, context: &Context) -> Result<(), Fault> {
        match self {
            Self::CreateVm(_) | Self::RestoreVm(_) => machines::undo_create(context).await,
            Self::StartVm(request) => machines::undo_start(context, request).await,
            Self::CreateVolume(request) => volumes::undo_create(context, request).await,
            Self::BuildImage(_) => build::undo_build(context).await,
            // what these leave when they are dropped is whole, or nothing
            Self::PullImage(_)
            | Self::LoadImage(_)
            | Self::DeleteImage(_)
            | Self::ImportKernel(_)
            | Self::PullKernel(_)
            | Self::DeleteKernel(_)
            | Self::StopVm(_)
            | Self::DeleteVm(_)
            | Self::UpdateVm(_)
            | Self::PauseVm(_)
            | Self::ResumeVm(_)
            | Self::CreateSnapshot(_)
            | Self::DeleteSnapshot(_)
            | Self::RegisterImage(_)
            | Self::PromoteImage(_)
            | Self::PruneImageCache(_)
            | Self::DeleteVolume(_) => Ok(()),
        }
    }
}

fn decode(kind: OperationKind, bytes: &[u8]) -> Option<Work> {
    fn message<T: Message + Default>(bytes: &[u8]) -> Option<T> {
        T::decode(bytes).ok()
    }
    Some(match kind {
        OperationKind::Unspecified => return None,
        OperationKind::PullImage => Work::PullImage(message(bytes)?),
        OperationKind::LoadImage => Work::LoadImage(message(bytes)?),
        OperationKind::BuildImage => Work::BuildImage(message(bytes)?),
        OperationKind::DeleteImage => Work::DeleteImage(message(bytes)?),
        OperationKind::ImportKernel => Work::ImportKernel(message(bytes)?),
        OperationKind::PullKernel => Work::PullKernel(message(bytes)?),
        OperationKind::DeleteKernel => Work::DeleteKernel(message(bytes)?),
        OperationKind::CreateVm => Work::CreateVm(message(bytes)?),
        OperationKind::StartVm => Work::StartVm(message(bytes)?),
        OperationKind::StopVm => Work::StopVm(message(bytes)?),
        OperationKind::DeleteVm => Work::DeleteVm(message(bytes)?),
        OperationKind::UpdateVm => Work::UpdateVm(message(bytes)?),
        OperationKind::PauseVm => Work::PauseVm(message(bytes)?),
        OperationKind::ResumeVm => Work::ResumeVm(message(bytes)?),
        OperationKind::CreateSnapshot => Work::CreateSnapshot(message(bytes)?),
        OperationKind::DeleteSnapshot => Work::DeleteSnapshot(message(bytes)?),
        OperationKind::RestoreVm => Work::RestoreVm(message(bytes)?),
        OperationKind::RegisterImage => Work::RegisterImage(message(bytes)?),
        OperationKind::PromoteImage => Work::PromoteImage(message(bytes)?),
        OperationKind::PruneImageCache => Work::PruneImageCache(message(bytes)?),
        OperationKind::CreateVolume => Work::CreateVolume(message(bytes)?),
        OperationKind::DeleteVolume => Work::DeleteVolume(message(bytes)?),
    })
}

/// What work is done with.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) backend: Backend,
    /// The operation, as this attempt began it.
    pub(super) operation: Operation,
    pub(super) journal: Arc<Journal>,
}

impl Context {
    pub(super) const fn new(backend: Backend, operation: Operation, journal: Arc<Journal>) -> Self {
        Self {
            backend,
            operation,
            journal,
        }
    }

    /// Whether a server that is gone began this already.
    pub(super) const fn is_resumed(&self) -> bool {
        1 < self.operation.attempts
    }

    /// The image of a name that is taken, if a server that is gone made it for this
    /// operation: it is what that would make, and no older.
    pub(super) async fn own_image(
        &self,
        name: &ImageName,
        is_same: impl FnOnce(&Image) -> bool,
    ) -> Result<Option<Image>, Fault> {
        let images = &self.backend.images;
        let found = images.show(&Selector::from(name.as_str())).await?;
        let is_ours = is_same(&found) && self.operation.created <= found.created;
        Ok(is_ours.then_some(found))
    }

    /// Does a part of the work and notes how long it took.
    pub(super) async fn phase<T>(&self, kind: PhaseKind, part: impl Future<Output = T>) -> T {
        let _part = self.journal.receipt.begin(kind);
        part.await
    }

    /// Holds the upload of a settled request; none when it reads none.
    pub(super) fn hold(&self, upload: &str) -> Result<Option<Held>, Fault> {
        let Some(key) = Key::of_text(upload) else {
            return Ok(None);
        };
        let backend = &self.backend;
        backend.uploads.hold(&key, backend.clock.now()).map(Some)
    }

    /// Removes the upload that only this operation needed. Its end is recorded.
    pub(super) async fn release_upload(&self) {
        let work = Work::of(&self.operation).ok();
        if let Some(key) = work.and_then(|work| work.upload()) {
            self.backend.uploads.remove(&key).await;
        }
    }

    pub(super) fn phases(&self) -> Vec<v1::Phase> {
        self.journal.receipt.phases()
    }
}
