//! Images of a server.

use async_trait::async_trait;
use banger_api::v1::{
    DeleteImageRequest, GetImageRequest, ListAvailableImagesRequest, ListImagesRequest,
    PullImageRequest, operation::Outcome,
};
use banger_core::{
    bundle::Written,
    catalog::Available,
    domain::{Bytes, Image, Selector},
    image::{
        BundleImageError, BundleImageRequest, DeleteImageError, ImageManager, ImageQueryError,
        LoadRequest, LoadSource, PromoteError, PruneError, PruneRequest, PrunedCache, PullError,
        PullRequest, RegisterError, RegisterRequest, SaveError, SaveRequest, SavedImage,
    },
    progress::{NoProgress, ProgressSink},
    remote::RemoteError,
};

use super::{Server, catalog, errors::FromServer as _, records, work::OnDrop};
use crate::Failure;

/// Most records of a page.
pub(super) const PAGE: i32 = 1000;

#[derive(Debug)]
pub(super) struct RemoteImages(pub(super) Server);

impl Server {
    pub(super) async fn images(&self) -> Result<Vec<Image>, Failure> {
        let (mut all, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = ListImagesRequest {
                page_size: PAGE,
                page_token,
                ..ListImagesRequest::default()
            };
            let page = self.read(|| {
                let (request, mut images) = (request.clone(), self.client.images());
                async move { images.list_images(request).await }
            });
            let page = page.await?;
            for image in page.images {
                all.push(records::image(image)?);
            }
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(all);
            }
        }
    }

    /// The image that a selector means.
    pub(super) async fn image(&self, selector: &Selector) -> Result<Image, ImageQueryError> {
        let request = GetImageRequest {
            name: format!("images/{selector}"),
        };
        let found = self.read(|| {
            let (request, mut images) = (request.clone(), self.client.images());
            async move { images.get_image(request).await }
        });
        let found = found.await.and_then(|answer| {
            let image = records::present(answer.image, &request.name)?;
            records::image(image)
        });
        found.map_err(ImageQueryError::from_server)
    }
}

fn image(outcome: Option<Outcome>) -> Result<Image, Failure> {
    match outcome {
        Some(Outcome::Image(image)) => records::image(image),
        _ => Err(Failure::confused("the image", "it is missing")),
    }
}

#[async_trait]
impl ImageManager for RemoteImages {
    async fn pull(
        &self,
        request: PullRequest,
        progress: &dyn ProgressSink,
    ) -> Result<Image, PullError> {
        let reference = request.reference.to_string();
        let name = request.name.or_else(|| request.reference.default_name());
        let Some(name) = name else {
            return Err(PullError::NoDefaultName { reference });
        };
        if !request.kernel.paths.is_empty() {
            return Err(RemoteError::unsupported("kernels by path").into());
        }
        let kernel = request.kernel.name;
        let pull = PullImageRequest {
            reference,
            image_id: name.to_string(),
            kernel: kernel
                .map(|name| format!("kernels/{name}"))
                .unwrap_or_default(),
            disk_bytes: request.size.map_or(0, Bytes::get),
            ..PullImageRequest::default()
        };
        let pulled = self.0.carry_out(pull, OnDrop::Cancel, progress).await;
        pulled.and_then(image).map_err(PullError::from_server)
    }

    async fn register(&self, _request: RegisterRequest) -> Result<Image, RegisterError> {
        Err(RemoteError::unsupported("images of files that are registered").into())
    }

    async fn promote(&self, _selector: &Selector) -> Result<Image, PromoteError> {
        Err(RemoteError::unsupported("promotion of images").into())
    }

    async fn save(
        &self,
        _selector: &Selector,
        _request: SaveRequest,
    ) -> Result<SavedImage, SaveError> {
        Err(RemoteError::unsupported("archives of images").into())
    }

    async fn load(
        &self,
        request: LoadRequest,
        _progress: &dyn ProgressSink,
    ) -> Result<Image, PullError> {
        match request.source {
            // what is not here is nowhere
            LoadSource::Catalog(name) => Err(PullError::NotInCatalog { name }),
            _ => Err(RemoteError::unsupported("images of bundles").into()),
        }
    }

    async fn bundle(
        &self,
        _request: BundleImageRequest,
        _progress: &dyn ProgressSink,
    ) -> Result<Written, BundleImageError> {
        Err(RemoteError::unsupported("bundles").into())
    }

    async fn available(&self) -> Available {
        let read = self.0.read(|| {
            let mut images = self.0.client.images();
            async move {
                let asked = images.list_available_images(ListAvailableImagesRequest {});
                catalog::whole(asked.await, |piece| (piece.images, piece.failures)).await
            }
        });
        catalog::available(read.await)
    }

    async fn list(&self) -> Result<Vec<Image>, ImageQueryError> {
        self.0.images().await.map_err(ImageQueryError::from_server)
    }

    async fn show(&self, selector: &Selector) -> Result<Image, ImageQueryError> {
        self.0.image(selector).await
    }

    async fn delete(&self, selector: &Selector) -> Result<Image, DeleteImageError> {
        let delete = DeleteImageRequest {
            name: format!("images/{selector}"),
            ..DeleteImageRequest::default()
        };
        let deleted = self.0.carry_out(delete, OnDrop::Leave, &NoProgress).await;
        deleted
            .and_then(image)
            .map_err(DeleteImageError::from_server)
    }

    async fn prune(&self, _request: PruneRequest) -> Result<PrunedCache, PruneError> {
        Err(RemoteError::unsupported("cache that can be pruned").into())
    }
}
