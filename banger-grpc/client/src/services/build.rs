//! Builds, which a server does not do.

use async_trait::async_trait;
use banger_core::{
    domain::Image,
    image::build::{BuildContainerfileRequest, BuildImageError, BuildImageRequest, ImageBuilder},
    progress::ProgressSink,
    remote::RemoteError,
};

#[derive(Debug)]
pub(super) struct RemoteBuilder;

#[async_trait]
impl ImageBuilder for RemoteBuilder {
    async fn build_from_image(
        &self,
        _request: BuildImageRequest,
        _progress: &dyn ProgressSink,
    ) -> Result<Image, BuildImageError> {
        Err(RemoteError::unsupported("builds").into())
    }

    async fn build_containerfile(
        &self,
        _request: BuildContainerfileRequest,
        _progress: &dyn ProgressSink,
    ) -> Result<Image, BuildImageError> {
        Err(RemoteError::unsupported("builds").into())
    }
}
