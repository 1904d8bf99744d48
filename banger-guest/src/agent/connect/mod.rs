//! Connections to what listens in the machine, for the host.
//!
//! Purpose: the method of `ConnectService`. Invariants: bytes wait in bounded
//! queues only, so a slow side slows the other; each direction ends by itself,
//! and a connection with its call; a call that is given up closes it.
//! Entry point: [`Connector`].

mod dial;
mod failure;
mod relay;

use std::time::Duration;

use banger_proto::guest::v1::{
    ConnectRequest, ConnectResponse, ConnectStart, connect_request,
    connect_service_server::ConnectService,
};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};

use failure::ConnectError;

/// How long a client may take to say where to.
const FIRST_MESSAGE_PATIENCE: Duration = Duration::from_secs(30);
/// Responses that may wait.
const QUEUE: usize = 2;

type Responses = mpsc::Sender<Result<ConnectResponse, Status>>;

/// The service.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    tasks: TaskTracker,
}

impl Connector {
    pub(super) const fn new(tasks: TaskTracker) -> Self {
        Self { tasks }
    }
}

#[tonic::async_trait]
impl ConnectService for Connector {
    type ConnectStream = ReceiverStream<Result<ConnectResponse, Status>>;

    async fn connect(
        &self,
        request: Request<Streaming<ConnectRequest>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let mut requests = request.into_inner();
        let start = first_message(&mut requests).await?;
        let stream = dial::dial(&start).await?;
        let (responses, receiver) = mpsc::channel(QUEUE);
        self.tasks.spawn(relay::relay(stream, requests, responses));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

async fn first_message(
    requests: &mut Streaming<ConnectRequest>,
) -> Result<ConnectStart, ConnectError> {
    match timeout(FIRST_MESSAGE_PATIENCE, requests.message()).await {
        Ok(Ok(Some(ConnectRequest {
            request: Some(connect_request::Request::Start(start)),
        }))) => Ok(start),
        _ => Err(ConnectError::Invalid("the first message is not `start`")),
    }
}
