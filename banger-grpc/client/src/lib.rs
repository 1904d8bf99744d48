//! A client of banger's gRPC API that can be trusted to retry.
//!
//! Purpose: calls that succeed or fail once, whatever happens to the connection and
//! the server between. Invariants: every change has a request id, made once and sent
//! with every attempt; an attempt is repeated only when its failure says that this may
//! help; no call takes longer than its budget; failures have the kinds that the core's
//! have. Entry points: [`Client::connect`], [`Client::connect_remote`],
//! [`Client::change`], [`Client::exec`], [`Client::watch_vms`],
//! [`Client::watch_operation`], [`Failure`].

mod change;
mod exec;
mod failure;
mod remote;
mod retry;
pub mod services;
mod watch;

use std::time::Duration;

use banger_api::v1::{
    GetOperationRequest, GetServerInfoRequest, Operation, OperationState, WaitOperationRequest,
    event_service_client::EventServiceClient, exec_service_client::ExecServiceClient,
    file_service_client::FileServiceClient, image_service_client::ImageServiceClient,
    kernel_service_client::KernelServiceClient, operation_service_client::OperationServiceClient,
    port_service_client::PortServiceClient, session_service_client::SessionServiceClient,
    snapshot_service_client::SnapshotServiceClient, system_service_client::SystemServiceClient,
    upload_service_client::UploadServiceClient, vm_service_client::VmServiceClient,
    volume_service_client::VolumeServiceClient,
};
use camino::Utf8Path;
use tokio::time::{Instant, timeout};
use tonic::{Status, transport::Endpoint};

pub use change::Change;
pub use exec::{Exec, ExecEvents};
pub use failure::{Failure, kind_of_reason};
pub use remote::{Remote, Token, Transport};
pub use watch::{OperationWatch, VmWatch};

/// How long a server may take to say that it is there.
const REACHING: Duration = Duration::from_secs(15);
/// How long one attempt waits for an operation's end.
const ONE_WAIT: Duration = Duration::from_secs(30);

/// A client of one server. Clones share its connection.
#[derive(Clone, Debug)]
pub struct Client {
    transport: Transport,
    /// How long a call may take, all attempts together.
    budget: Duration,
}

impl Client {
    /// A client of the server with that socket. The connection is made when it is
    /// needed, and again when it broke.
    pub fn connect(socket: &Utf8Path, budget: Duration) -> Result<Self, Failure> {
        let endpoint = Endpoint::try_from(format!("unix://{socket}"));
        let endpoint = endpoint.map_err(|error| Failure::no_endpoint(socket.as_str(), &error))?;
        Ok(Self::over(endpoint, Token::default(), budget))
    }

    /// A client of a server elsewhere. The connection is made when it is needed, and
    /// again when it broke.
    pub fn connect_remote(remote: &Remote, budget: Duration) -> Result<Self, Failure> {
        let token = Token::new(remote.token.as_deref())?;
        Ok(Self::over(remote.endpoint()?, token, budget))
    }

    fn over(endpoint: Endpoint, token: Token, budget: Duration) -> Self {
        let channel = remote::watched(endpoint).connect_lazy();
        Self {
            transport: Transport::new(channel, token),
            budget,
        }
    }

    /// Asks whether the server answers, once; `place` is how people call it.
    pub async fn reach(&self, place: &str) -> Result<(), Failure> {
        let mut system = self.system();
        let asked = system.get_server_info(GetServerInfoRequest {});
        match timeout(REACHING, asked).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(status)) => Err(Failure::unreached(place, status)),
            Err(_) => Err(Failure::unreached(
                place,
                Status::deadline_exceeded("no answer"),
            )),
        }
    }

    /// When a call that begins now has to be over.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.budget
    }

    /// Asks for a change and waits for its end: the operation did what was asked, or
    /// this fails. Cancelling leaves the work to the server; the same `request_id`, if
    /// the caller set one, leads back to it.
    pub async fn change<C: Change>(&self, request: C) -> Result<Operation, Failure> {
        let deadline = self.deadline();
        let mut operation = self.begin_by(request, deadline).await?;
        while operation.state() == OperationState::Running {
            operation = self.wait_once(&operation.name, deadline).await?;
        }
        Failure::of_operation(&operation).map_or(Ok(operation), Err)
    }

    /// Asks for a change, and answers the operation that it began.
    pub async fn begin<C: Change>(&self, request: C) -> Result<Operation, Failure> {
        self.begin_by(request, self.deadline()).await
    }

    async fn begin_by<C: Change>(
        &self,
        request: C,
        deadline: Instant,
    ) -> Result<Operation, Failure> {
        let request = request.identified();
        let begun = retry::until(deadline, || {
            let (request, transport) = (request.clone(), self.transport.clone());
            async move { request.send(transport).await }
        });
        begun.await?.ok_or_else(Failure::no_operation)
    }

    async fn wait_once(&self, name: &str, deadline: Instant) -> Result<Operation, Failure> {
        let waited = retry::until(deadline, || {
            let left = deadline.saturating_duration_since(Instant::now());
            let request = WaitOperationRequest {
                name: name.to_owned(),
                timeout: prost_types::Duration::try_from(left.min(ONE_WAIT)).ok(),
            };
            let mut operations = self.operations();
            async move { operations.wait_operation(request).await }
        });
        let waited = waited.await?.into_inner().operation;
        waited.ok_or_else(Failure::no_operation)
    }

    /// The operation that a request began, if it began one: for whoever lost the
    /// answer, and everything else but the request's id.
    pub async fn operation_of_request(&self, request_id: &str) -> Result<Operation, Failure> {
        let deadline = Instant::now() + self.budget;
        let found = retry::until(deadline, || {
            let name = format!("operations/by-request/{request_id}");
            let mut operations = self.operations();
            async move { operations.get_operation(GetOperationRequest { name }).await }
        });
        let found = found.await?.into_inner().operation;
        found.ok_or_else(Failure::no_operation)
    }

    /// Calls that only read, as the API has them. They are not repeated.
    #[must_use]
    pub fn images(&self) -> ImageServiceClient<Transport> {
        ImageServiceClient::new(self.transport.clone())
    }

    /// See [`Client::images`].
    #[must_use]
    pub fn kernels(&self) -> KernelServiceClient<Transport> {
        KernelServiceClient::new(self.transport.clone())
    }

    /// See [`Client::images`].
    #[must_use]
    pub fn vms(&self) -> VmServiceClient<Transport> {
        VmServiceClient::new(self.transport.clone())
    }

    /// See [`Client::images`].
    #[must_use]
    pub fn execs(&self) -> ExecServiceClient<Transport> {
        ExecServiceClient::new(self.transport.clone())
    }

    /// See [`Client::images`].
    #[must_use]
    pub fn files(&self) -> FileServiceClient<Transport> {
        FileServiceClient::new(self.transport.clone())
    }

    /// See [`Client::images`].
    #[must_use]
    pub fn ports(&self) -> PortServiceClient<Transport> {
        PortServiceClient::new(self.transport.clone())
    }

    /// See [`Client::images`]. Sending a file twice under one id is sending it once.
    #[must_use]
    pub fn uploads(&self) -> UploadServiceClient<Transport> {
        UploadServiceClient::new(self.transport.clone())
    }

    /// See [`Client::images`].
    #[must_use]
    pub fn volumes(&self) -> VolumeServiceClient<Transport> {
        VolumeServiceClient::new(self.transport.clone())
    }

    /// See [`Client::images`].
    #[must_use]
    pub fn events(&self) -> EventServiceClient<Transport> {
        EventServiceClient::new(self.transport.clone())
    }

    /// See [`Client::images`].
    #[must_use]
    pub fn operations(&self) -> OperationServiceClient<Transport> {
        OperationServiceClient::new(self.transport.clone())
    }

    /// See [`Client::images`]. Keeping a session twice is keeping it once.
    #[must_use]
    pub fn sessions(&self) -> SessionServiceClient<Transport> {
        SessionServiceClient::new(self.transport.clone())
    }

    /// See [`Client::images`].
    #[must_use]
    pub fn snapshots(&self) -> SnapshotServiceClient<Transport> {
        SnapshotServiceClient::new(self.transport.clone())
    }

    /// See [`Client::images`].
    #[must_use]
    pub fn system(&self) -> SystemServiceClient<Transport> {
        SystemServiceClient::new(self.transport.clone())
    }
}
