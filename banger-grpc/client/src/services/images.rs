//! Images of a server.

use async_trait::async_trait;
use banger_api::v1::{
    BootFiles, DeleteImageRequest, GetImageRequest, ListAvailableImagesRequest, ListImagesRequest,
    PromoteImageRequest, PruneImageCacheRequest, PullImageRequest, RegisterImageRequest,
    operation::Outcome, register_image_request::Boot,
};
use banger_core::{
    ErrorKind,
    bundle::Written,
    catalog::Available,
    disk::{Difference, DiskEntry},
    domain::{Bytes, Image, Selector},
    image::{
        BundleImageError, BundleImageRequest, DeleteImageError, DiskStream, ImageFile,
        ImageManager, ImageQueryError, ListImageFiles, LoadRequest, LoadSource, PromoteError,
        PruneError, PruneRequest, PrunedCache, PullError, PullRequest, ReadImageError,
        RegisterError, RegisterRequest, SaveError, SaveRequest, SavedImage,
    },
    kernel::KernelSelection,
    progress::{NoProgress, ProgressSink},
    remote::RemoteError,
};

use super::{Server, catalog, errors::FromServer as _, records, requests::duration, work::OnDrop};
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

fn boot(kernel: KernelSelection) -> Result<Option<Boot>, RemoteError> {
    let KernelSelection { name, paths } = kernel;
    let text = |path: Option<camino::Utf8PathBuf>| path.map(String::from).unwrap_or_default();
    match name {
        Some(_) if !paths.is_empty() => {
            let problem = "a kernel is chosen by its name or by paths, and not by both";
            Err(RemoteError::new(
                ErrorKind::InvalidInput,
                problem,
                Vec::new(),
            ))
        }
        Some(name) => Ok(Some(Boot::Kernel(format!("kernels/{name}")))),
        None if paths.is_empty() => Ok(None),
        None => Ok(Some(Boot::BootFiles(BootFiles {
            kernel: text(paths.kernel),
            initrd: text(paths.initrd),
            modules: text(paths.modules),
        }))),
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

    async fn register(&self, request: RegisterRequest) -> Result<Image, RegisterError> {
        let register = RegisterImageRequest {
            image_id: request.name.to_string(),
            rootfs: request.rootfs.into(),
            boot: boot(request.kernel)?,
            ..RegisterImageRequest::default()
        };
        let registered = self.0.carry_out(register, OnDrop::Leave, &NoProgress).await;
        registered
            .and_then(image)
            .map_err(RegisterError::from_server)
    }

    async fn promote(&self, selector: &Selector) -> Result<Image, PromoteError> {
        let promote = PromoteImageRequest {
            name: format!("images/{selector}"),
            ..PromoteImageRequest::default()
        };
        let promoted = self.0.carry_out(promote, OnDrop::Cancel, &NoProgress).await;
        promoted.and_then(image).map_err(PromoteError::from_server)
    }

    async fn save(
        &self,
        selector: &Selector,
        request: SaveRequest,
    ) -> Result<SavedImage, SaveError> {
        let image = self.0.image(selector).await?;
        self.0.save(image, request).await
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

    async fn prune(&self, request: PruneRequest) -> Result<PrunedCache, PruneError> {
        let prune = PruneImageCacheRequest {
            dry_run: request.dry_run,
            all: request.all,
            older_than: request.older_than.and_then(duration),
            max_cache_bytes: request.max_size.map(Bytes::get),
            ..PruneImageCacheRequest::default()
        };
        let outcome = self.0.carry_out(prune, OnDrop::Leave, &NoProgress).await;
        let pruned = outcome.and_then(|outcome| match outcome {
            Some(Outcome::PrunedImageCache(pruned)) => records::pruned(pruned),
            _ => Err(Failure::confused("the cache", "what went is missing")),
        });
        pruned.map_err(PruneError::from_server)
    }

    async fn list_files(
        &self,
        image: &Selector,
        request: ListImageFiles,
    ) -> Result<DiskStream<DiskEntry>, ReadImageError> {
        let image = self.0.image(image).await?;
        Ok(self.0.list_files(&image, request))
    }

    async fn read_file(
        &self,
        image: &Selector,
        path: Vec<u8>,
        offset: u64,
    ) -> Result<ImageFile, ReadImageError> {
        let image = self.0.image(image).await?;
        self.0.read_file(&image, path, offset).await
    }

    async fn diff(
        &self,
        one: &Selector,
        other: &Selector,
        after: Vec<u8>,
    ) -> Result<DiskStream<Difference>, ReadImageError> {
        let (one, other) = (self.0.image(one).await?, self.0.image(other).await?);
        Ok(self.0.diff(&one, &other, after))
    }
}
