//! `KernelService`.

use std::{pin::Pin, sync::Arc};

use banger_api::v1::{
    DeleteKernelRequest, DeleteKernelResponse, GetKernelRequest, GetKernelResponse,
    ImportKernelRequest, ImportKernelResponse, Kernel, ListAvailableKernelsRequest,
    ListAvailableKernelsResponse, ListKernelsRequest, ListKernelsResponse, Operation,
    PullKernelRequest, PullKernelResponse, SaveKernelEnd, SaveKernelRequest, SaveKernelResponse,
    kernel_service_server::KernelService, save_kernel_response::Piece as Saved,
};
use banger_core::{
    domain::{self, KernelName},
    kernel::KernelQueryError,
};
use futures_util::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};

use super::{
    Ask,
    catalog::pieces,
    change,
    image_disk::{Answers, Readings},
    outgoing::{Piece, send},
    upload::{given_upload, settle_upload},
};
use crate::{
    access::check_host_files,
    backend::{Front, Hub},
    caller::Caller,
    convert::kernel::kernel,
    fault::Fault,
    operations::{Work, import_request},
    request::{
        Checks, caller,
        mask::Mask,
        name::KERNELS,
        order::{By, Order},
        page::Page,
        source,
    },
};

/// Over the core's kernels.
#[derive(Debug)]
pub(crate) struct Kernels {
    front: Front,
    readings: Readings,
}

fn name(text: &str, checks: &mut Checks) -> Option<KernelName> {
    let id = KERNELS.id("name", text, checks)?;
    checks.parse("name", id)
}

impl Kernels {
    pub(crate) const fn new(front: Front, readings: Readings) -> Self {
        Self { front, readings }
    }

    async fn get(&self, request: &GetKernelRequest) -> Result<Kernel, Fault> {
        let hub = self.front.reading()?;
        let mut checks = Checks::default();
        let name = name(&request.name, &mut checks);
        checks.finish()?;
        match name {
            Some(name) => Ok(kernel(&hub.backend.kernels.show(&name).await?)),
            None => Err(Fault::invalid(Vec::new())),
        }
    }

    async fn list(&self, request: &ListKernelsRequest) -> Result<ListKernelsResponse, Fault> {
        let hub = self.front.reading()?;
        let mut checks = Checks::default();
        let fields = [By::Name, By::CreateTime];
        let order = Order::parse(&request.order_by, &fields, Order::BY_NAME, &mut checks);
        let query = ["kernels", &order.as_text()];
        let page = Page::parse(request.page_size, &request.page_token, &query, &mut checks);
        let mask = request.read_mask.as_ref();
        let mask = Mask::parse("read_mask", mask, "Kernel", &mut checks);
        checks.finish()?;
        let all = hub.backend.kernels.list().await?;
        let key = |one: &domain::Kernel| order.key(&one.name, one.imported, &one.name);
        let convert = |one: &domain::Kernel| mask.apply(kernel(one));
        let (kernels, next_page_token) = page.cut(&all, order.descending, key, convert);
        Ok(ListKernelsResponse {
            kernels,
            next_page_token,
        })
    }

    async fn import(
        &self,
        request: Request<ImportKernelRequest>,
    ) -> Result<Option<Operation>, Fault> {
        let hub = self.front.changing()?;
        let mut checks = Checks::default();
        let (ask, request) = Ask::of(request, &mut checks);
        let is_elsewhere = !request.upload.is_empty();
        let is_host_kernel = source::is_host_kernel(&request.source);
        check_host_files(&ask.caller, is_host_kernel && !is_elsewhere)?;
        checks.absorb(import_request(&request))?;
        let upload = given_upload(&ask.caller, &request.upload, &mut checks);
        checks.finish()?;
        let asked = Work::ImportKernel(request.clone());
        let settled = async {
            let upload = settle_upload(hub, upload)?;
            Ok(Work::ImportKernel(ImportKernelRequest {
                upload,
                ..request
            }))
        };
        change(hub, &ask, asked, settled).await
    }

    async fn pull(&self, request: Request<PullKernelRequest>) -> Result<Option<Operation>, Fault> {
        let hub = self.front.changing()?;
        let mut checks = Checks::default();
        let (ask, request) = Ask::of(request, &mut checks);
        name(&request.name, &mut checks);
        checks.finish()?;
        let work = Work::PullKernel(request);
        change(hub, &ask, work.clone(), async { Ok(work) }).await
    }

    async fn available(&self) -> Result<Available, Fault> {
        let hub = self.front.reading()?;
        let pieces = pieces(hub.backend.kernels.available().await);
        Ok(Box::pin(pieces.map(|piece| {
            let (kernels, failures) = piece?;
            Ok(ListAvailableKernelsResponse { kernels, failures })
        })))
    }

    async fn save(
        &self,
        caller: &Caller,
        request: &SaveKernelRequest,
    ) -> Result<Answers<SaveKernelResponse>, Fault> {
        let hub = self.front.reading()?;
        let mut checks = Checks::default();
        let name = name(&request.name, &mut checks);
        checks.finish()?;
        let Some(name) = name else {
            return Err(Fault::invalid(Vec::new()));
        };
        let kernels = Arc::clone(&hub.backend.kernels);
        kernels.show(&name).await?;
        let counted = self.readings.count(caller)?;
        let pieces = send(
            counted,
            request.offset_bytes,
            move |output, events| async move { Ok(kernels.bundle(&name, output, &events).await?) },
        )?;
        Ok(Box::pin(pieces.map(|piece| {
            let piece = match piece? {
                Piece::Data(data) => Saved::Data(data),
                Piece::Progress(progress) => Saved::Progress(progress),
                Piece::End(size_bytes, archive_digest, written) => Saved::End(SaveKernelEnd {
                    size_bytes,
                    archive_digest: archive_digest.to_string(),
                    unpacked_bytes: written.unpacked.get(),
                }),
            };
            Ok(SaveKernelResponse { piece: Some(piece) })
        })))
    }

    async fn delete(
        &self,
        request: Request<DeleteKernelRequest>,
    ) -> Result<Option<Operation>, Fault> {
        let hub = self.front.changing()?;
        let mut checks = Checks::default();
        let (ask, request) = Ask::of(request, &mut checks);
        let name = name(&request.name, &mut checks);
        checks.finish()?;
        let asked = Work::DeleteKernel(request.clone());
        change(hub, &ask, asked, settle(hub, request, name)).await
    }
}

type Available = Pin<Box<dyn Stream<Item = Result<ListAvailableKernelsResponse, Status>> + Send>>;

/// A kernel that is not there is told of at once, or is no work.
async fn settle(
    hub: &Hub,
    mut request: DeleteKernelRequest,
    name: Option<KernelName>,
) -> Result<Work, Fault> {
    if let Some(name) = name {
        match hub.backend.kernels.show(&name).await {
            Err(KernelQueryError::NotFound { .. }) if request.allow_missing => {
                request.name.clear();
            }
            found => drop(found?),
        }
    }
    Ok(Work::DeleteKernel(request))
}

#[tonic::async_trait]
impl KernelService for Kernels {
    async fn get_kernel(
        &self,
        request: Request<GetKernelRequest>,
    ) -> Result<Response<GetKernelResponse>, Status> {
        let kernel = Some(self.get(request.get_ref()).await?);
        Ok(Response::new(GetKernelResponse { kernel }))
    }

    async fn list_kernels(
        &self,
        request: Request<ListKernelsRequest>,
    ) -> Result<Response<ListKernelsResponse>, Status> {
        Ok(Response::new(self.list(request.get_ref()).await?))
    }

    async fn import_kernel(
        &self,
        request: Request<ImportKernelRequest>,
    ) -> Result<Response<ImportKernelResponse>, Status> {
        let operation = self.import(request).await?;
        Ok(Response::new(ImportKernelResponse { operation }))
    }

    async fn pull_kernel(
        &self,
        request: Request<PullKernelRequest>,
    ) -> Result<Response<PullKernelResponse>, Status> {
        let operation = self.pull(request).await?;
        Ok(Response::new(PullKernelResponse { operation }))
    }

    type ListAvailableKernelsStream = Available;

    async fn list_available_kernels(
        &self,
        _request: Request<ListAvailableKernelsRequest>,
    ) -> Result<Response<Available>, Status> {
        Ok(Response::new(self.available().await?))
    }

    type SaveKernelStream = Answers<SaveKernelResponse>;

    async fn save_kernel(
        &self,
        request: Request<SaveKernelRequest>,
    ) -> Result<Response<Self::SaveKernelStream>, Status> {
        let caller = caller(&request);
        let saved = self.save(&caller, request.get_ref()).await?;
        Ok(Response::new(saved))
    }

    async fn delete_kernel(
        &self,
        request: Request<DeleteKernelRequest>,
    ) -> Result<Response<DeleteKernelResponse>, Status> {
        let operation = self.delete(request).await?;
        Ok(Response::new(DeleteKernelResponse { operation }))
    }
}
