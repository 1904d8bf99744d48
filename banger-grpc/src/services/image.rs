//! `ImageService`.

use std::pin::Pin;

use banger_api::v1::{
    self, BuildImageRequest, BuildImageResponse, DeleteImageRequest, DeleteImageResponse,
    DiffImagesRequest, DiffImagesResponse, GetImageRequest, GetImageResponse,
    ListAvailableImagesRequest, ListAvailableImagesResponse, ListImageFilesRequest,
    ListImageFilesResponse, ListImagesRequest, ListImagesResponse, LoadImageRequest,
    LoadImageResponse, Operation, PromoteImageRequest, PromoteImageResponse,
    PruneImageCacheRequest, PruneImageCacheResponse, PullImageRequest, PullImageResponse,
    ReadImageFileRequest, ReadImageFileResponse, RegisterImageRequest, RegisterImageResponse,
    SaveImageRequest, SaveImageResponse, image_service_server::ImageService,
};
use banger_core::{
    domain::{Image, Selector},
    image::ImageQueryError,
};
use futures_util::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};

use super::{
    Ask,
    catalog::pieces,
    change,
    image_disk::{Answers, Readings},
    upload::{given_upload, settle_upload, upload_length},
};
use crate::{
    access::{check_host_files, check_machines},
    backend::{Front, Hub},
    convert::image::image,
    fault::Fault,
    operations::{
        Settled, Work, build_request, check_length, is_host_bundle, load_request, of_build,
        prune_request, pull_request, register_request,
    },
    request::{
        Checks, caller,
        mask::Mask,
        name::IMAGES,
        order::{By, Order},
        page::Page,
        source,
    },
};

/// Over the core's images.
#[derive(Debug)]
pub(crate) struct Images {
    front: Front,
    readings: Readings,
}

/// The image with exactly that name or id: the core takes parts of ids, too, and a
/// program that means one image must not get another.
pub(crate) async fn find(hub: &Hub, id: &str) -> Result<Image, ImageQueryError> {
    let selector = Selector::from(id);
    let found = hub.backend.images.show(&selector).await?;
    if found.name.as_str() == id || found.id.to_string() == id {
        return Ok(found);
    }
    Err(ImageQueryError::NotFound { selector })
}

impl Images {
    pub(crate) const fn new(front: Front, readings: Readings) -> Self {
        Self { front, readings }
    }

    async fn get(&self, request: &GetImageRequest) -> Result<v1::Image, Fault> {
        let hub = self.front.reading()?;
        let mut checks = Checks::default();
        let id = IMAGES.id("name", &request.name, &mut checks);
        checks.finish()?;
        Ok(image(&find(hub, id.unwrap_or_default()).await?))
    }

    async fn list(&self, request: &ListImagesRequest) -> Result<ListImagesResponse, Fault> {
        let hub = self.front.reading()?;
        let mut checks = Checks::default();
        let fields = [By::Name, By::CreateTime];
        let order = Order::parse(&request.order_by, &fields, Order::BY_NAME, &mut checks);
        let query = ["images", &order.as_text()];
        let page = Page::parse(request.page_size, &request.page_token, &query, &mut checks);
        let mask = request.read_mask.as_ref();
        let mask = Mask::parse("read_mask", mask, "Image", &mut checks);
        checks.finish()?;
        let all = hub.backend.images.list().await?;
        let key = |one: &Image| order.key(&one.name, one.created, &one.id);
        let convert = |one: &Image| mask.apply(image(one));
        let (images, next_page_token) = page.cut(&all, order.descending, key, convert);
        Ok(ListImagesResponse {
            images,
            next_page_token,
        })
    }

    async fn available(&self) -> Result<Available, Fault> {
        let hub = self.front.reading()?;
        let pieces = pieces(hub.backend.images.available().await);
        Ok(Box::pin(pieces.map(|piece| {
            let (images, failures) = piece?;
            Ok(ListAvailableImagesResponse { images, failures })
        })))
    }

    async fn pull(&self, request: Request<PullImageRequest>) -> Result<Option<Operation>, Fault> {
        let hub = self.front.changing()?;
        let mut checks = Checks::default();
        let (ask, request) = Ask::of(request, &mut checks);
        let is_elsewhere = !request.upload.is_empty();
        let is_host_image = source::is_host_image(&request.reference);
        check_host_files(&ask.caller, is_host_image && !is_elsewhere)?;
        checks.absorb(pull_request(&request))?;
        let upload = given_upload(&ask.caller, &request.upload, &mut checks);
        checks.finish()?;
        let asked = Work::PullImage(request.clone());
        let settled = async {
            let upload = settle_upload(hub, upload)?;
            Ok(Work::PullImage(PullImageRequest { upload, ..request }))
        };
        change(hub, &ask, asked, settled).await
    }

    async fn load(&self, request: Request<LoadImageRequest>) -> Result<Option<Operation>, Fault> {
        let hub = self.front.changing()?;
        let mut checks = Checks::default();
        let (ask, request) = Ask::of(request, &mut checks);
        check_host_files(&ask.caller, is_host_bundle(&request))?;
        checks.absorb(load_request(&request))?;
        let upload = given_upload(&ask.caller, &request.upload, &mut checks);
        checks.finish()?;
        let asked = Work::LoadImage(request.clone());
        let settled = async {
            let upload = settle_upload(hub, upload)?;
            Ok(Work::LoadImage(LoadImageRequest { upload, ..request }))
        };
        change(hub, &ask, asked, settled).await
    }

    async fn build(&self, request: Request<BuildImageRequest>) -> Result<Option<Operation>, Fault> {
        let hub = self.front.changing()?;
        let mut checks = Checks::default();
        let (ask, mut request) = Ask::of(request, &mut checks);
        check_machines(&ask.caller)?;
        checks.absorb(build_request(&request))?;
        let upload = given_upload(&ask.caller, &request.upload, &mut checks);
        checks.finish()?;
        let asked = Work::BuildImage(request.clone());
        let settled = async {
            let id = request.base.strip_prefix("images/").unwrap_or_default();
            let base = find(hub, id).await?;
            check_length(&request, upload_length(hub, upload.as_ref())?)?;
            request.base = IMAGES.name(base.id);
            request.upload = settle_upload(hub, upload)?;
            let need = of_build(ask.caller.identity(), &build_request(&request)?, &base);
            let room = hub.operations.admission().reserve(need).await?;
            Ok(Settled {
                work: Work::BuildImage(request),
                room: Some(room),
            })
        };
        change(hub, &ask, asked, settled).await
    }

    async fn delete(
        &self,
        request: Request<DeleteImageRequest>,
    ) -> Result<Option<Operation>, Fault> {
        let hub = self.front.changing()?;
        let mut checks = Checks::default();
        let (ask, request) = Ask::of(request, &mut checks);
        IMAGES.id("name", &request.name, &mut checks);
        checks.finish()?;
        let asked = Work::DeleteImage(request.clone());
        change(hub, &ask, asked, settle(hub, request)).await
    }

    async fn register(
        &self,
        request: Request<RegisterImageRequest>,
    ) -> Result<Option<Operation>, Fault> {
        let hub = self.front.changing()?;
        let mut checks = Checks::default();
        let (ask, request) = Ask::of(request, &mut checks);
        checks.absorb(register_request(&request))?;
        checks.finish()?;
        check_host_files(&ask.caller, true)?;
        let work = Work::RegisterImage(request);
        change(hub, &ask, work.clone(), async { Ok(work) }).await
    }

    async fn promote(
        &self,
        request: Request<PromoteImageRequest>,
    ) -> Result<Option<Operation>, Fault> {
        let hub = self.front.changing()?;
        let mut checks = Checks::default();
        let (ask, mut request) = Ask::of(request, &mut checks);
        IMAGES.id("name", &request.name, &mut checks);
        checks.finish()?;
        let asked = Work::PromoteImage(request.clone());
        let settled = async {
            let id = request.name.strip_prefix("images/").unwrap_or_default();
            request.name = IMAGES.name(find(hub, id).await?.id);
            Ok(Work::PromoteImage(request))
        };
        change(hub, &ask, asked, settled).await
    }

    async fn prune(
        &self,
        request: Request<PruneImageCacheRequest>,
    ) -> Result<Option<Operation>, Fault> {
        let hub = self.front.changing()?;
        let mut checks = Checks::default();
        let (ask, request) = Ask::of(request, &mut checks);
        checks.absorb(prune_request(&request))?;
        checks.finish()?;
        let work = Work::PruneImageCache(request);
        change(hub, &ask, work.clone(), async { Ok(work) }).await
    }
}

type Available = Pin<Box<dyn Stream<Item = Result<ListAvailableImagesResponse, Status>> + Send>>;

/// From here on it is the image with this id and no other of its name.
async fn settle(hub: &Hub, mut request: DeleteImageRequest) -> Result<Work, Fault> {
    let id = request.name.strip_prefix("images/").unwrap_or_default();
    request.name = match find(hub, id).await {
        Ok(image) => IMAGES.name(image.id),
        Err(ImageQueryError::NotFound { .. }) if request.allow_missing => String::new(),
        Err(error) => return Err(error.into()),
    };
    Ok(Work::DeleteImage(request))
}

#[tonic::async_trait]
impl ImageService for Images {
    async fn get_image(
        &self,
        request: Request<GetImageRequest>,
    ) -> Result<Response<GetImageResponse>, Status> {
        let image = Some(self.get(request.get_ref()).await?);
        Ok(Response::new(GetImageResponse { image }))
    }

    async fn list_images(
        &self,
        request: Request<ListImagesRequest>,
    ) -> Result<Response<ListImagesResponse>, Status> {
        Ok(Response::new(self.list(request.get_ref()).await?))
    }

    type ListAvailableImagesStream = Available;

    async fn list_available_images(
        &self,
        _request: Request<ListAvailableImagesRequest>,
    ) -> Result<Response<Available>, Status> {
        Ok(Response::new(self.available().await?))
    }

    async fn pull_image(
        &self,
        request: Request<PullImageRequest>,
    ) -> Result<Response<PullImageResponse>, Status> {
        let operation = self.pull(request).await?;
        Ok(Response::new(PullImageResponse { operation }))
    }

    async fn load_image(
        &self,
        request: Request<LoadImageRequest>,
    ) -> Result<Response<LoadImageResponse>, Status> {
        let operation = self.load(request).await?;
        Ok(Response::new(LoadImageResponse { operation }))
    }

    async fn build_image(
        &self,
        request: Request<BuildImageRequest>,
    ) -> Result<Response<BuildImageResponse>, Status> {
        let operation = self.build(request).await?;
        Ok(Response::new(BuildImageResponse { operation }))
    }

    async fn delete_image(
        &self,
        request: Request<DeleteImageRequest>,
    ) -> Result<Response<DeleteImageResponse>, Status> {
        let operation = self.delete(request).await?;
        Ok(Response::new(DeleteImageResponse { operation }))
    }

    async fn register_image(
        &self,
        request: Request<RegisterImageRequest>,
    ) -> Result<Response<RegisterImageResponse>, Status> {
        let operation = self.register(request).await?;
        Ok(Response::new(RegisterImageResponse { operation }))
    }

    async fn promote_image(
        &self,
        request: Request<PromoteImageRequest>,
    ) -> Result<Response<PromoteImageResponse>, Status> {
        let operation = self.promote(request).await?;
        Ok(Response::new(PromoteImageResponse { operation }))
    }

    async fn prune_image_cache(
        &self,
        request: Request<PruneImageCacheRequest>,
    ) -> Result<Response<PruneImageCacheResponse>, Status> {
        let operation = self.prune(request).await?;
        Ok(Response::new(PruneImageCacheResponse { operation }))
    }

    type ListImageFilesStream = Answers<ListImageFilesResponse>;

    async fn list_image_files(
        &self,
        request: Request<ListImageFilesRequest>,
    ) -> Result<Response<Self::ListImageFilesStream>, Status> {
        let (hub, caller) = (self.front.reading()?, caller(&request));
        let listing = self.readings.list(hub, &caller, request.into_inner());
        Ok(Response::new(listing.await?))
    }

    type ReadImageFileStream = Answers<ReadImageFileResponse>;

    async fn read_image_file(
        &self,
        request: Request<ReadImageFileRequest>,
    ) -> Result<Response<Self::ReadImageFileStream>, Status> {
        let (hub, caller) = (self.front.reading()?, caller(&request));
        let reading = self.readings.read(hub, &caller, request.into_inner());
        Ok(Response::new(reading.await?))
    }

    type DiffImagesStream = Answers<DiffImagesResponse>;

    async fn diff_images(
        &self,
        request: Request<DiffImagesRequest>,
    ) -> Result<Response<Self::DiffImagesStream>, Status> {
        let (hub, caller) = (self.front.reading()?, caller(&request));
        let comparing = self.readings.diff(hub, &caller, request.into_inner());
        Ok(Response::new(comparing.await?))
    }

    type SaveImageStream = Answers<SaveImageResponse>;

    async fn save_image(
        &self,
        request: Request<SaveImageRequest>,
    ) -> Result<Response<Self::SaveImageStream>, Status> {
        let (hub, caller) = (self.front.reading()?, caller(&request));
        let saving = self.readings.save(hub, &caller, request.into_inner());
        Ok(Response::new(saving.await?))
    }
}
