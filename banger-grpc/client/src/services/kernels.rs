//! Kernels of a server.

use async_trait::async_trait;
use banger_api::v1::{
    DeleteKernelRequest, GetKernelRequest, ImportKernelRequest, ListAvailableKernelsRequest,
    ListKernelsRequest, PullKernelRequest, operation::Outcome,
};
use banger_core::{
    bundle::Written,
    catalog::Available,
    domain::{Kernel, KernelName, ResolvedKernel},
    host_fs::Output,
    kernel::{
        BundleKernelError, DeleteKernelError, ImportKernelError, KernelQueryError, KernelResolver,
        KernelSelection, KernelSource, PullKernelError, ResolveKernelError,
    },
    progress::{NoProgress, ProgressEvent, ProgressSink},
    remote::RemoteError,
};
use tokio::task::spawn_blocking;

use super::{
    Server, catalog,
    errors::FromServer as _,
    images::PAGE,
    records,
    upload::{Unsent, Upload},
    work::{OnDrop, settle},
};
use crate::Failure;

#[derive(Debug)]
pub(super) struct RemoteKernels(pub(super) Server);

fn kernel(outcome: Option<Outcome>) -> Result<Kernel, Failure> {
    match outcome {
        Some(Outcome::Kernel(kernel)) => records::kernel(kernel),
        _ => Err(Failure::confused("the kernel", "it is missing")),
    }
}

impl RemoteKernels {
    /// Sends the file that a source names, with its signature; a directory is the
    /// server's.
    async fn send(
        &self,
        source: &KernelSource,
        progress: &dyn ProgressSink,
    ) -> Result<Option<(Upload, String)>, ImportKernelError> {
        let opening = source.clone();
        let opened = spawn_blocking(move || opening.delivery());
        let opened = settle(opened).await.inspect_err(|_| {
            // what is said on this host; nothing of bundles
            if !matches!(source, KernelSource::Bundle(_)) {
                let step = format!("reading {source}");
                progress.emit(ProgressEvent::ImportingKernel { step });
            }
        });
        let Some((delivery, signature)) = opened? else {
            return Ok(None);
        };
        match self.0.upload(delivery).await {
            Ok(upload) => Ok(Some((upload, signature.unwrap_or_default()))),
            Err(Unsent::Server(failure)) => Err(ImportKernelError::from_server(failure)),
            Err(Unsent::Read(error)) => Err(ImportKernelError::Io(error)),
        }
    }

    async fn all(&self) -> Result<Vec<Kernel>, Failure> {
        let (mut all, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = ListKernelsRequest {
                page_size: PAGE,
                page_token,
                ..ListKernelsRequest::default()
            };
            let page = self.0.read(|| {
                let (request, mut kernels) = (request.clone(), self.0.client.kernels());
                async move { kernels.list_kernels(request).await }
            });
            let page = page.await?;
            for kernel in page.kernels {
                all.push(records::kernel(kernel)?);
            }
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(all);
            }
        }
    }
}

impl RemoteKernels {
    /// Has the server pull a kernel from its catalogs.
    async fn pull_missing(
        &self,
        name: &KernelName,
        progress: &dyn ProgressSink,
    ) -> Result<(), ResolveKernelError> {
        match self.pull(name, false, progress).await {
            // somebody else did meanwhile
            Ok(_) | Err(PullKernelError::Import(ImportKernelError::AlreadyExists { .. })) => Ok(()),
            Err(PullKernelError::NotInCatalog { name }) => {
                Err(ResolveKernelError::NotFound { name })
            }
            Err(source) => Err(ResolveKernelError::Pull {
                name: name.clone(),
                source: Box::new(source),
            }),
        }
    }
}

#[async_trait]
impl KernelResolver for RemoteKernels {
    async fn resolve(
        &self,
        selection: &KernelSelection,
        progress: &dyn ProgressSink,
    ) -> Result<ResolvedKernel, ResolveKernelError> {
        if !selection.paths.is_empty() {
            return Err(RemoteError::unsupported("kernels by path").into());
        }
        let Some(name) = selection.name.clone() else {
            return Err(ResolveKernelError::Nothing);
        };
        let found = match self.show(&name).await {
            Err(KernelQueryError::NotFound { .. }) => {
                self.pull_missing(&name, progress).await?;
                self.show(&name).await
            }
            found => found,
        };
        match found {
            Ok(kernel) => Ok(ResolvedKernel {
                boot: kernel.boot,
                name: Some(name),
            }),
            Err(KernelQueryError::NotFound { name }) => Err(ResolveKernelError::NotFound { name }),
            Err(error) => {
                let words = banger_core::error::in_words(&error);
                Err(RemoteError::new(error.kind(), words, Vec::new()).into())
            }
        }
    }

    async fn import(
        &self,
        source: &KernelSource,
        name: Option<KernelName>,
        progress: &dyn ProgressSink,
    ) -> Result<Kernel, ImportKernelError> {
        if let Some(name) = &name
            && self.show(name).await.is_ok()
        {
            return Err(ImportKernelError::AlreadyExists { name: name.clone() });
        }
        let (upload, signature) = self.send(source, progress).await?.unzip();
        let import = ImportKernelRequest {
            upload: upload.as_ref().map(Upload::name).unwrap_or_default(),
            signature: signature.unwrap_or_default(),
            source: source.to_string(),
            kernel_id: name.map(|name| name.to_string()).unwrap_or_default(),
            ..ImportKernelRequest::default()
        };
        let imported = self.0.carry_out(import, OnDrop::Cancel, progress).await;
        let imported = imported.and_then(kernel);
        let imported = imported.map_err(ImportKernelError::from_server)?;
        if let Some(upload) = upload {
            upload.taken_over();
        }
        Ok(imported)
    }

    async fn pull(
        &self,
        name: &KernelName,
        force: bool,
        progress: &dyn ProgressSink,
    ) -> Result<Kernel, PullKernelError> {
        let pull = PullKernelRequest {
            name: format!("kernels/{name}"),
            force,
            ..PullKernelRequest::default()
        };
        let pulled = self.0.carry_out(pull, OnDrop::Cancel, progress).await;
        pulled
            .and_then(kernel)
            .map_err(PullKernelError::from_server)
    }

    async fn bundle(
        &self,
        name: &KernelName,
        target: Output,
        progress: &dyn ProgressSink,
    ) -> Result<Written, BundleKernelError> {
        self.show(name).await?;
        self.0.bundle_kernel(name, target, progress).await
    }

    async fn available(&self) -> Available {
        let read = self.0.read(|| {
            let mut kernels = self.0.client.kernels();
            async move {
                let asked = kernels.list_available_kernels(ListAvailableKernelsRequest {});
                catalog::whole(asked.await, |piece| (piece.kernels, piece.failures)).await
            }
        });
        catalog::available(read.await)
    }

    async fn list(&self) -> Result<Vec<Kernel>, KernelQueryError> {
        self.all().await.map_err(KernelQueryError::from_server)
    }

    async fn show(&self, name: &KernelName) -> Result<Kernel, KernelQueryError> {
        let request = GetKernelRequest {
            name: format!("kernels/{name}"),
        };
        let found = self.0.read(|| {
            let (request, mut kernels) = (request.clone(), self.0.client.kernels());
            async move { kernels.get_kernel(request).await }
        });
        let found = found
            .await
            .and_then(|answer| records::kernel(records::present(answer.kernel, &request.name)?));
        found.map_err(KernelQueryError::from_server)
    }

    async fn delete(&self, name: &KernelName) -> Result<Kernel, DeleteKernelError> {
        let delete = DeleteKernelRequest {
            name: format!("kernels/{name}"),
            ..DeleteKernelRequest::default()
        };
        let deleted = self.0.carry_out(delete, OnDrop::Leave, &NoProgress).await;
        deleted
            .and_then(kernel)
            .map_err(DeleteKernelError::from_server)
    }
}
