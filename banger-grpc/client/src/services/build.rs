//! Builds of images for a server.

use async_trait::async_trait;
use banger_core::{
    ErrorKind,
    domain::Image,
    image::build::{
        BuildContainerfileRequest, BuildImageError, BuildImageRequest, ContainerfileBuilder,
        ImageBuilder,
    },
    progress::ProgressSink,
    remote::RemoteError,
};

#[derive(Debug)]
pub(super) struct RemoteBuilder {
    /// Builds on this host; none when nobody said where.
    pub(super) containerfiles: Option<ContainerfileBuilder>,
}

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
        request: BuildContainerfileRequest,
        progress: &dyn ProgressSink,
    ) -> Result<Image, BuildImageError> {
        let Some(builder) = &self.containerfiles else {
            let problem = "nothing says where on this host Containerfiles are built";
            let error = RemoteError::new(ErrorKind::InvalidInput, problem, Vec::new());
            return Err(error.into());
        };
        builder.build(request, progress).await
    }
}
