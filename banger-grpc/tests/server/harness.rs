//! A server of a test's own over the real core, in this process.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use banger_api::v1::{
    CreateVmRequest, ImportKernelRequest, Operation, OperationState, PullImageRequest, VmSpec,
    image_service_client::ImageServiceClient, kernel_service_client::KernelServiceClient,
    operation_service_client::OperationServiceClient, vm_service_client::VmServiceClient,
};
use banger_core::{
    catalog::SupplyOptions,
    clock::SystemClock,
    directories::Directories,
    local::{Local, LocalOptions},
    oci::SourceOptions,
    rootfs::RootfsLimits,
    store::{Connections, Store},
    vm::MonitorProgram,
    vmm::VmmPrograms,
};
use banger_grpc::{
    backend::Backend,
    capacity::Budget,
    metrics::Meter,
    server::{Limits, Opener, Options, ServeError, Server},
    socket::ServerSocket,
    transport::{Listeners, tcp::TlsListener},
    uploads::{UploadLimits, Uploads},
};
use camino::{Utf8Path, Utf8PathBuf};
use tempfile::TempDir;
use tokio::{sync::oneshot, task::JoinHandle};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;
use uuid::Uuid;

/// An image that is pulled in moments, and one that takes a while.
pub(crate) const SMALL: (&str, &str) = ("busybox", "latest");
pub(crate) const LARGE: (&str, &str) = ("debian", "bookworm");

/// Leaves at once to the next server what is at work.
pub(crate) const HASTY: Limits = Limits {
    request_bytes: 1 << 20,
    response_bytes: 4 << 20,
    calls_per_connection: 256,
    calls_per_caller: 4096,
    connections: 1024,
    drain: Duration::ZERO,
};

pub(crate) struct Running {
    scratch: TempDir,
    pub(crate) channel: Channel,
    pub(crate) meter: Meter,
    /// Where it listens over TLS, if it does.
    pub(crate) address: Option<SocketAddr>,
    opener: Option<Opener>,
    budget: Budget,
    end: Option<oneshot::Sender<()>>,
    served: JoinHandle<Result<(), ServeError>>,
}

impl Running {
    /// One that starts.
    pub(crate) async fn start(limits: Limits) -> Self {
        Self::over(tempfile::tempdir().unwrap(), limits).await
    }

    /// One that serves.
    pub(crate) async fn serving(limits: Limits) -> Self {
        Self::with_budget(limits, Budget::default()).await
    }

    /// One whose machines may take no more than that.
    pub(crate) async fn with_budget(limits: Limits, budget: Budget) -> Self {
        let mut running = Self::start(limits).await;
        running.budget = budget;
        running.open().await;
        running
    }

    /// One that serves clients from elsewhere as well, if its security is for that.
    pub(crate) async fn guarded(options: Options) -> Self {
        let mut running = Self::over(tempfile::tempdir().unwrap(), options).await;
        running.open().await;
        running
    }

    async fn over(scratch: TempDir, options: impl Into<Options>) -> Self {
        let options = options.into();
        let path = root(&scratch).join("run/grpc.sock");
        let mut listeners = Listeners::from(ServerSocket::bind(&path).await.unwrap());
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        // without a certificate there is none
        let tls = TlsListener::bind(local, Arc::clone(&options.security)).await;
        listeners.tls.extend(tls.ok());
        let address = listeners.tls.first().map(|one| one.address().unwrap());
        let server = Server::new(options).await.unwrap();
        let (opener, meter) = (server.opener(), server.meter());
        let (end, ended) = oneshot::channel();
        let serving = async move { server.serve(listeners, async { drop(ended.await) }).await };
        #[expect(clippy::disallowed_methods, reason = "the test owns it")]
        let task = tokio::spawn(serving);
        let endpoint = Endpoint::try_from(format!("unix://{path}")).unwrap();
        Self {
            channel: endpoint.connect().await.unwrap(),
            scratch,
            meter,
            address,
            opener: Some(opener),
            budget: Budget::default(),
            end: Some(end),
            served: task,
        }
    }

    pub(crate) async fn open(&mut self) {
        let backend = backend(&directories(&self.scratch), self.budget).await;
        self.opener.take().unwrap().open(backend).await.unwrap();
    }

    pub(crate) fn ask_to_end(&mut self) {
        self.end.take().unwrap().send(()).unwrap();
    }

    /// Waits for its end, and answers the state that it leaves.
    pub(crate) async fn ended(self) -> TempDir {
        self.served.await.unwrap().unwrap();
        self.scratch
    }

    /// Ends it and starts another one over what it leaves.
    pub(crate) async fn again(mut self, limits: Limits) -> Self {
        self.ask_to_end();
        let budget = self.budget;
        let scratch = self.ended().await;
        let mut next = Self::over(scratch, limits).await;
        next.budget = budget;
        next.open().await;
        next
    }

    pub(crate) fn socket(&self) -> Utf8PathBuf {
        root(&self.scratch).join("run/grpc.sock")
    }

    pub(crate) fn cache(&self) -> Utf8PathBuf {
        directories(&self.scratch).cache
    }

    pub(crate) fn state(&self) -> Utf8PathBuf {
        directories(&self.scratch).state
    }

    /// Its records, as another process has them.
    pub(crate) async fn store(&self) -> Store {
        Store::open(&directories(&self.scratch)).await.unwrap()
    }

    pub(crate) fn images(&self) -> ImageServiceClient<Channel> {
        ImageServiceClient::new(self.channel.clone())
    }

    pub(crate) fn kernels(&self) -> KernelServiceClient<Channel> {
        KernelServiceClient::new(self.channel.clone())
    }

    pub(crate) fn vms(&self) -> VmServiceClient<Channel> {
        VmServiceClient::new(self.channel.clone())
    }

    pub(crate) fn operations(&self) -> OperationServiceClient<Channel> {
        OperationServiceClient::new(self.channel.clone())
    }

    /// Imports the kernel `linux`.
    pub(crate) async fn import_kernel(&self) {
        let request = ImportKernelRequest {
            request_id: fresh(),
            source: format!("deb:{}", testbed().join("kernel/kernel.deb")),
            kernel_id: "linux".to_owned(),
            wait: wait(120),
            ..ImportKernelRequest::default()
        };
        let answer = self.kernels().import_kernel(request).await;
        let answer = answer.unwrap().into_inner();
        succeeded(answer.operation);
    }

    /// Imports a kernel and pulls the image `small`.
    pub(crate) async fn prepare(&self) {
        self.import_kernel().await;
        let request = PullImageRequest {
            wait: wait(120),
            ..pull(SMALL)
        };
        let answer = self.images().pull_image(request).await.unwrap();
        succeeded(answer.into_inner().operation);
    }
}

/// A request for an image of the test bed, under the name `small`.
pub(crate) fn pull((layout, tag): (&str, &str)) -> PullImageRequest {
    PullImageRequest {
        request_id: fresh(),
        reference: format!("oci:{}:{tag}", testbed().join(layout)),
        image_id: "small".to_owned(),
        kernel: "kernels/linux".to_owned(),
        ..PullImageRequest::default()
    }
}

/// A request for a machine of that name of the image `small`.
pub(crate) fn create(name: &str) -> CreateVmRequest {
    CreateVmRequest {
        request_id: fresh(),
        image: "images/small".to_owned(),
        vm_id: name.to_owned(),
        spec: Some(VmSpec {
            disk_bytes: 16 << 20,
            ..VmSpec::default()
        }),
        wait: wait(60),
        ..CreateVmRequest::default()
    }
}

/// The id of a request.
pub(crate) fn fresh() -> String {
    Uuid::now_v7().to_string()
}

#[expect(clippy::unnecessary_wraps, reason = "it is what requests hold")]
pub(crate) fn wait(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

pub(crate) fn succeeded(operation: Option<Operation>) -> Operation {
    let operation = operation.unwrap();
    assert_eq!(
        operation.state(),
        OperationState::Succeeded,
        "{operation:?}"
    );
    operation
}

/// The reason that a failure names.
pub(crate) fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    let info = details.error_info().expect("an answer without a reason");
    assert_eq!(info.domain, "banger");
    info.reason.clone()
}

fn root(scratch: &TempDir) -> Utf8PathBuf {
    Utf8Path::from_path(scratch.path()).unwrap().to_owned()
}

fn directories(scratch: &TempDir) -> Directories {
    Directories {
        state: root(scratch).join("state"),
        cache: root(scratch).join("cache"),
        runtime: root(scratch).join("run"),
    }
}

async fn backend(directories: &Directories, budget: Budget) -> Backend {
    let nowhere = Utf8PathBuf::from("/nowhere");
    let options = LocalOptions {
        connections: Connections::default(),
        directories: directories.clone(),
        guest_program: nowhere.clone(),
        monitor: MonitorProgram {
            program: nowhere,
            arguments: Vec::new(),
        },
        // it is looked at and not started: these tests boot nothing
        vmm: VmmPrograms {
            qemu: Some("/usr/bin/qemu-system-x86_64".into()),
            ..VmmPrograms::default()
        },
        sources: SourceOptions::new(directories.clone()),
        limits: RootfsLimits::default(),
        supply: SupplyOptions::default(),
    };
    let local = Local::open(options).await.unwrap();
    Backend {
        images: local.images,
        kernels: local.kernels,
        vms: local.vms,
        builder: local.builder,
        doctor: local.doctor,
        volumes: local.volumes,
        store: Store::open(directories).await.unwrap(),
        uploads: Uploads::new(directories.cache.join("uploads"), UploadLimits::default()),
        clock: Arc::new(SystemClock),
        budget,
    }
}

pub(crate) fn testbed() -> Utf8PathBuf {
    #[expect(clippy::disallowed_methods, reason = "where the parts are")]
    let place = std::env::var("BANGER_TESTBED");
    let place = place.expect("BANGER_TESTBED is not set: run `cargo xtask test`");
    place.into()
}
