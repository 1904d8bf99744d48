//! The requests that change something.

use banger_api::v1::{
    BuildImageRequest, CreateSnapshotRequest, CreateVmRequest, CreateVolumeRequest,
    DeleteImageRequest, DeleteKernelRequest, DeleteSnapshotRequest, DeleteVmRequest,
    DeleteVolumeRequest, ImportKernelRequest, LoadImageRequest, Operation, PauseVmRequest,
    PromoteImageRequest, PruneImageCacheRequest, PullImageRequest, PullKernelRequest,
    RegisterImageRequest, RestoreVmRequest, ResumeVmRequest, StartVmRequest, StopVmRequest,
    UpdateVmRequest, image_service_client::ImageServiceClient,
    kernel_service_client::KernelServiceClient, snapshot_service_client::SnapshotServiceClient,
    vm_service_client::VmServiceClient, volume_service_client::VolumeServiceClient,
};
use tonic::Status;
use uuid::Uuid;

use crate::Transport;

/// A request that begins an operation. The API's own requests are all there are.
pub trait Change: Clone + Send + sealed::Sealed {
    /// The request with an id: its own, or a new one if it has none.
    #[must_use]
    fn identified(self) -> Self;

    /// Its id; empty if it has none.
    fn request_id(&self) -> &str;

    /// Sends it once.
    fn send(
        self,
        transport: Transport,
    ) -> impl Future<Output = Result<Option<Operation>, Status>> + Send;
}

mod sealed {
    /// Nobody else's requests are changes.
    pub trait Sealed {}
}

macro_rules! change {
    ($($request:ty => $client:ident.$call:ident),* $(,)?) => {$(
        impl sealed::Sealed for $request {}

        impl Change for $request {
            fn identified(mut self) -> Self {
                if self.request_id.is_empty() {
                    self.request_id = Uuid::now_v7().to_string();
                }
                self
            }

            fn request_id(&self) -> &str {
                &self.request_id
            }

            async fn send(self, transport: Transport) -> Result<Option<Operation>, Status> {
                let answer = $client::new(transport).$call(self).await?;
                Ok(answer.into_inner().operation)
            }
        }
    )*};
}

change!(
    BuildImageRequest => ImageServiceClient.build_image,
    CreateSnapshotRequest => SnapshotServiceClient.create_snapshot,
    CreateVmRequest => VmServiceClient.create_vm,
    CreateVolumeRequest => VolumeServiceClient.create_volume,
    DeleteImageRequest => ImageServiceClient.delete_image,
    DeleteKernelRequest => KernelServiceClient.delete_kernel,
    DeleteSnapshotRequest => SnapshotServiceClient.delete_snapshot,
    DeleteVmRequest => VmServiceClient.delete_vm,
    DeleteVolumeRequest => VolumeServiceClient.delete_volume,
    ImportKernelRequest => KernelServiceClient.import_kernel,
    LoadImageRequest => ImageServiceClient.load_image,
    PauseVmRequest => VmServiceClient.pause_vm,
    PromoteImageRequest => ImageServiceClient.promote_image,
    PruneImageCacheRequest => ImageServiceClient.prune_image_cache,
    PullImageRequest => ImageServiceClient.pull_image,
    PullKernelRequest => KernelServiceClient.pull_kernel,
    RegisterImageRequest => ImageServiceClient.register_image,
    RestoreVmRequest => SnapshotServiceClient.restore_vm,
    ResumeVmRequest => VmServiceClient.resume_vm,
    StartVmRequest => VmServiceClient.start_vm,
    StopVmRequest => VmServiceClient.stop_vm,
    UpdateVmRequest => VmServiceClient.update_vm,
);
