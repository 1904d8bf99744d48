//! Images of a server.

use std::{fs::File, sync::Arc};

use async_trait::async_trait;
use banger_api::v1::{
    BootFiles, DeleteImageRequest, GetImageRequest, ListAvailableImagesRequest, ListImagesRequest,
    LoadImageRequest, PromoteImageRequest, PruneImageCacheRequest, PullImageRequest,
    RegisterImageRequest, load_image_request::Source, operation::Outcome,
    register_image_request::Boot,
};
use banger_core::{
    ErrorKind,
    bundle::{BundleError, BundleReference, Written},
    catalog::Available,
    disk::{Difference, DiskEntry},
    domain::{Bytes, Image, ImageName, Selector},
    image::{
        BundleImageError, BundleImageRequest, DeleteImageError, DiskStream, ImageFile,
        ImageManager, ImageQueryError, ListImageFiles, LoadRequest, LoadSource, PromoteError,
        PruneError, PruneRequest, PrunedCache, PullError, PullRequest, ReadImageError,
        RegisterError, RegisterRequest, SaveError, SaveRequest, SavedImage,
    },
    kernel::KernelSelection,
    oci::{Delivery, ImageReference, SourceError},
    progress::{NoProgress, ProgressEvent, ProgressSink},
    remote::RemoteError,
};
use tokio::task::spawn_blocking;

use super::{
    Server, catalog,
    errors::FromServer as _,
    records,
    requests::duration,
    upload::{Unsent, Upload},
    work::{OnDrop, settle},
};
use crate::Failure;

/// Most records of a page.
pub(super) const PAGE: i32 = 1000;

#[derive(Debug)]
pub(super) struct RemoteImages {
    pub(super) server: Server,
    /// What `rootfs-tar:-` means.
    pub(super) standard_input: Option<Arc<File>>,
}

/// Says what the server would have said, had there been something to send.
fn begun(progress: &dyn ProgressSink, reference: String) {
    progress.emit(ProgressEvent::Resolving { reference });
}

impl RemoteImages {
    /// Sends the archive that a reference names, unless it is in a registry.
    async fn send(
        &self,
        reference: &ImageReference,
        name: &ImageName,
        progress: &dyn ProgressSink,
    ) -> Result<Option<Upload>, PullError> {
        let failed = |source| PullError::Source {
            name: name.clone(),
            source,
        };
        let (opening, input) = (reference.clone(), self.standard_input.clone());
        let opened = spawn_blocking(move || Delivery::of_image(&opening, input.as_ref()));
        let opened = settle(opened).await.inspect_err(|_| {
            begun(progress, reference.to_string());
        });
        let Some(delivery) = opened.map_err(failed)? else {
            return Ok(None);
        };
        match self.server.upload(delivery).await {
            Ok(upload) => Ok(Some(upload)),
            Err(Unsent::Server(failure)) => Err(PullError::from_server(failure)),
            Err(Unsent::Read(source)) => Err(failed(SourceError::Io {
                reference: reference.to_string(),
                source,
            })),
        }
    }

    /// Sends the bundle that a reference names, with its signature, unless it is
    /// elsewhere.
    async fn send_bundle(
        &self,
        reference: &BundleReference,
        progress: &dyn ProgressSink,
    ) -> Result<Option<(Upload, String)>, PullError> {
        let failed = |error: BundleError| PullError::Load {
            what: format!("an image from {}", reference.location),
            source: error.into(),
        };
        let opening = reference.clone();
        let opened = spawn_blocking(move || opening.delivery());
        let opened = settle(opened).await.inspect_err(|_| {
            begun(progress, reference.to_string());
        });
        let Some((delivery, signature)) = opened.map_err(failed)? else {
            return Ok(None);
        };
        match self.server.upload(delivery).await {
            Ok(upload) => Ok(Some((upload, signature.unwrap_or_default()))),
            Err(Unsent::Server(failure)) => Err(PullError::from_server(failure)),
            Err(Unsent::Read(error)) => {
                let location = reference.location.to_string();
                Err(failed(BundleError::io(&location)(error)))
            }
        }
    }

    async fn load_from(
        &self,
        request: LoadRequest,
        progress: &dyn ProgressSink,
    ) -> Result<Image, PullError> {
        let (source, sent) = match request.source {
            LoadSource::Catalog(name) => (Source::CatalogName(name.to_string()), None),
            LoadSource::Bundle(reference) => {
                let sent = self.send_bundle(&reference, progress).await?;
                (Source::Bundle(reference.to_string()), sent)
            }
            _ => return Err(RemoteError::unsupported("images of that sort").into()),
        };
        let (upload, signature) = sent.unzip();
        let kernel = request.kernel.name;
        let load = LoadImageRequest {
            source: Some(source),
            upload: upload.as_ref().map(Upload::name).unwrap_or_default(),
            signature: signature.unwrap_or_default(),
            image_id: request
                .name
                .map(|name| name.to_string())
                .unwrap_or_default(),
            kernel: kernel
                .map(|name| format!("kernels/{name}"))
                .unwrap_or_default(),
            ..LoadImageRequest::default()
        };
        let loaded = self.server.carry_out(load, OnDrop::Cancel, progress).await;
        let loaded = loaded.and_then(image).map_err(PullError::from_server)?;
        if let Some(upload) = upload {
            upload.taken_over();
        }
        Ok(loaded)
    }
}

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

    /// Whether there is an image of that name: nothing is sent to be refused.
    pub(super) async fn is_image(&self, name: &ImageName) -> bool {
        let found = self.image(&Selector::from(name.as_str())).await;
        found.is_ok_and(|image| image.name == *name)
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

/// What an operation that makes images, or is about one, ended with.
pub(super) fn image(outcome: Option<Outcome>) -> Result<Image, Failure> {
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
        let is_sent = !matches!(request.reference, ImageReference::Registry(_));
        if is_sent && self.server.is_image(&name).await {
            return Err(PullError::AlreadyExists { name });
        }
        let upload = self.send(&request.reference, &name, progress).await?;
        let kernel = request.kernel.name;
        let pull = PullImageRequest {
            upload: upload.as_ref().map(Upload::name).unwrap_or_default(),
            reference,
            image_id: name.to_string(),
            kernel: kernel
                .map(|name| format!("kernels/{name}"))
                .unwrap_or_default(),
            disk_bytes: request.size.map_or(0, Bytes::get),
            containerfile: request.containerfile.map(String::from).unwrap_or_default(),
            ..PullImageRequest::default()
        };
        let pulled = self.server.carry_out(pull, OnDrop::Cancel, progress).await;
        let pulled = pulled.and_then(image).map_err(PullError::from_server)?;
        if let Some(upload) = upload {
            upload.taken_over();
        }
        Ok(pulled)
    }

    async fn register(&self, request: RegisterRequest) -> Result<Image, RegisterError> {
        let register = RegisterImageRequest {
            image_id: request.name.to_string(),
            rootfs: request.rootfs.into(),
            boot: boot(request.kernel)?,
            ..RegisterImageRequest::default()
        };
        let registered = self
            .server
            .carry_out(register, OnDrop::Leave, &NoProgress)
            .await;
        registered
            .and_then(image)
            .map_err(RegisterError::from_server)
    }

    async fn promote(&self, selector: &Selector) -> Result<Image, PromoteError> {
        let promote = PromoteImageRequest {
            name: format!("images/{selector}"),
            ..PromoteImageRequest::default()
        };
        let promoted = self
            .server
            .carry_out(promote, OnDrop::Cancel, &NoProgress)
            .await;
        promoted.and_then(image).map_err(PromoteError::from_server)
    }

    async fn save(
        &self,
        selector: &Selector,
        request: SaveRequest,
    ) -> Result<SavedImage, SaveError> {
        let image = self.server.image(selector).await?;
        self.server.save(image, request).await
    }

    async fn load(
        &self,
        request: LoadRequest,
        progress: &dyn ProgressSink,
    ) -> Result<Image, PullError> {
        if !request.kernel.paths.is_empty() {
            return Err(RemoteError::unsupported("kernels by path").into());
        }
        if let Some(name) = request.known_name()
            && self.server.is_image(name).await
        {
            return Err(PullError::AlreadyExists { name: name.clone() });
        }
        self.load_from(request, progress).await
    }

    async fn bundle(
        &self,
        request: BundleImageRequest,
        progress: &dyn ProgressSink,
    ) -> Result<Written, BundleImageError> {
        let image = self.server.image(&request.image).await?;
        self.server.bundle_image(image, request, progress).await
    }

    async fn available(&self) -> Available {
        let read = self.server.read(|| {
            let mut images = self.server.client.images();
            async move {
                let asked = images.list_available_images(ListAvailableImagesRequest {});
                catalog::whole(asked.await, |piece| (piece.images, piece.failures)).await
            }
        });
        catalog::available(read.await)
    }

    async fn list(&self) -> Result<Vec<Image>, ImageQueryError> {
        self.server
            .images()
            .await
            .map_err(ImageQueryError::from_server)
    }

    async fn show(&self, selector: &Selector) -> Result<Image, ImageQueryError> {
        self.server.image(selector).await
    }

    async fn delete(&self, selector: &Selector) -> Result<Image, DeleteImageError> {
        let delete = DeleteImageRequest {
            name: format!("images/{selector}"),
            ..DeleteImageRequest::default()
        };
        let deleted = self
            .server
            .carry_out(delete, OnDrop::Leave, &NoProgress)
            .await;
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
        let outcome = self
            .server
            .carry_out(prune, OnDrop::Leave, &NoProgress)
            .await;
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
        let image = self.server.image(image).await?;
        Ok(self.server.list_files(&image, request))
    }

    async fn read_file(
        &self,
        image: &Selector,
        path: Vec<u8>,
        offset: u64,
    ) -> Result<ImageFile, ReadImageError> {
        let image = self.server.image(image).await?;
        self.server.read_file(&image, path, offset).await
    }

    async fn diff(
        &self,
        one: &Selector,
        other: &Selector,
        after: Vec<u8>,
    ) -> Result<DiskStream<Difference>, ReadImageError> {
        let (one, other) = (
            self.server.image(one).await?,
            self.server.image(other).await?,
        );
        Ok(self.server.diff(&one, &other, after))
    }
}
