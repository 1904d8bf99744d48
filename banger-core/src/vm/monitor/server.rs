//! The monitor's socket: its own service, and the way through to the guest.
//!
//! Invariants: only what [`is_for_guest`] names is passed on to the guest; a call keeps its own flow
//! control and its cancellation all the way; every connection is a tracked
//! task that ends with the monitor. Entry points: [`Server::serve`].

use std::{
    convert::Infallible,
    pin::pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use banger_proto::monitor::v1::{
    PauseRequest, PauseResponse, ResumeRequest, ResumeResponse, SnapshotRequest, SnapshotResponse,
    StatsRequest, StatsResponse, StopRequest, StopResponse,
    monitor_service_server::{MonitorService, MonitorServiceServer},
};
use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http2::Builder, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{Notify, Semaphore, mpsc, watch},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Status, body::Body};
use tower_service::Service as _;

use super::{
    activity::{Activity, CountedBody},
    changes::{Change, ChangeSender},
    guest_link::GuestLink,
    orders::StopOrder,
    usage::{Usage, usage_of},
};
use crate::{
    sys::mappings::let_go_of_programs,
    vm::{
        http2::{CONNECTION_WINDOW, MAX_STREAMS, STREAM_WINDOW, TrackedExecutor},
        stats::told,
    },
    vmm::MetricsProbe,
};

/// Without a client for this long, a monitor is at rest: one after the other
/// finds it as the first did.
const REST_AFTER: Duration = Duration::from_millis(5);
/// Clients at one time.
const MAX_CONNECTIONS: usize = 256;
/// How long last answers may take to reach their clients.
const CLOSING_DEADLINE: Duration = Duration::from_secs(1);

const MONITOR_PREFIX: &str = "/banger.monitor.v1.MonitorService/";
/// The guest's calls that clients may make.
const PASSED_ON: [&str; 4] = [
    "/banger.guest.v1.AgentService/CreateExec",
    "/banger.guest.v1.AgentService/AttachExec",
    "/banger.guest.v1.AgentService/ListExecs",
    "/banger.guest.v1.AgentService/DeleteExec",
];
/// Services of the guest whose every method is for clients.
const GUEST_PREFIXES: [&str; 2] = [
    "/banger.guest.v1.FilesService/",
    "/banger.guest.v1.ConnectService/",
];

/// Calls that clients may make to the guest; the others are the monitor's own.
fn is_for_guest(path: &str) -> bool {
    PASSED_ON.contains(&path) || GUEST_PREFIXES.iter().any(|prefix| path.starts_with(prefix))
}

/// How the VM ended, for those who wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) forced: bool,
}

/// What the socket's service needs.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) orders: mpsc::Sender<StopOrder>,
    pub(super) outcome: watch::Receiver<Option<Outcome>>,
    /// The agent, once it answered.
    pub(super) guest: GuestLink,
    /// What a running machine can be asked.
    pub(super) changes: ChangeSender,
    pub(super) activity: Activity,
    /// The process id of the VMM; 0 while there is none.
    pub(super) vmm: Arc<AtomicU32>,
    pub(super) metrics: Arc<OnceLock<MetricsProbe>>,
    /// Told when the monitor did something else than answer clients, after which
    /// it comes to rest again.
    pub(super) stir: Arc<Notify>,
    pub(super) tracker: TaskTracker,
    pub(super) closing: CancellationToken,
}

impl Server {
    /// Accepts clients until the monitor closes.
    pub(super) async fn serve(self, listener: UnixListener) {
        let closing = self.closing.clone();
        closing.run_until_cancelled(self.accept(listener)).await;
    }

    async fn accept(self, listener: UnixListener) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        // while its machine comes up it needs itself; when that is up it is stirred
        let mut is_at_rest = true;
        while let Ok(place) = places.clone().acquire_owned().await {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.stir.notified() => {
                    is_at_rest = false;
                    continue;
                }
                () = sleep(REST_AFTER), if !is_at_rest => {
                    // all places but the one at hand
                    is_at_rest = places.available_permits() == MAX_CONNECTIONS - 1;
                    if is_at_rest {
                        rest();
                    }
                    continue;
                }
            };
            is_at_rest = false;
            match accepted {
                Ok((stream, _)) => {
                    let connection = self.clone().connection(stream);
                    drop(self.tracker.spawn(async move {
                        connection.await;
                        drop(place);
                    }));
                }
                Err(error) => {
                    tracing::warn!(%error, "a client could not be accepted");
                    // out of descriptors, most likely: not a reason to spin
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn connection(self, stream: UnixStream) {
        let closing = self.closing.clone();
        let mut builder = Builder::new(TrackedExecutor(self.tracker.clone()));
        let service = service_fn(move |request| {
            let server = self.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        builder
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(MAX_STREAMS);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = closing.cancelled() => {
                connection.as_mut().graceful_shutdown();
                timeout(CLOSING_DEADLINE, connection).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a client's connection broke");
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path();
        if is_for_guest(path) {
            return self.pass_on(request).await;
        }
        if !path.starts_with(MONITOR_PREFIX) {
            return Status::unimplemented("the monitor has no such method").into_http();
        }
        let mut service = MonitorServiceServer::new(self.clone());
        match service.call(request).await {
            Ok(response) => response,
        }
    }

    /// Hands a call to the guest as it is.
    async fn pass_on(&self, request: Request<Incoming>) -> Response<Body> {
        let Some(mut guest) = self.guest.get() else {
            return Status::unavailable("the guest's agent does not answer yet").into_http();
        };
        let call = self.activity.begin();
        match guest.call(request.map(Body::new)).await {
            Ok(response) => response.map(|body| Body::new(CountedBody::new(body, call))),
            Err(error) => {
                tracing::debug!(%error, "the guest broke a call off");
                Status::unavailable("the connection to the guest's agent broke").into_http()
            }
        }
    }
}

/// Lets go of what only clients need.
fn rest() {
    if let Err(error) = let_go_of_programs() {
        tracing::debug!(%error, "parts of the program stay mapped");
    }
}

#[async_trait]
impl MonitorService for Server {
    async fn stop(
        &self,
        request: tonic::Request<StopRequest>,
    ) -> Result<tonic::Response<StopResponse>, Status> {
        let order = StopOrder {
            grace: Duration::from_millis(request.get_ref().grace_millis),
            why: "it was asked to stop",
        };
        // a closed queue means that it has ended
        self.orders.send(order).await.ok();
        let mut outcome = self.outcome.clone();
        let known = outcome.wait_for(Option::is_some).await.map(|known| *known);
        match known {
            Ok(Some(Outcome { forced })) => Ok(tonic::Response::new(StopResponse { forced })),
            _ => Err(Status::unavailable("the monitor ended without an outcome")),
        }
    }

    async fn pause(
        &self,
        _: tonic::Request<PauseRequest>,
    ) -> Result<tonic::Response<PauseResponse>, Status> {
        self.changes.ask(Change::Pause).await?;
        Ok(tonic::Response::new(PauseResponse {}))
    }

    async fn resume(
        &self,
        _: tonic::Request<ResumeRequest>,
    ) -> Result<tonic::Response<ResumeResponse>, Status> {
        self.changes.ask(Change::Resume).await?;
        Ok(tonic::Response::new(ResumeResponse {}))
    }

    async fn snapshot(
        &self,
        request: tonic::Request<SnapshotRequest>,
    ) -> Result<tonic::Response<SnapshotResponse>, Status> {
        let directory = request.into_inner().directory.into();
        self.changes.ask(Change::Keep(directory)).await?;
        Ok(tonic::Response::new(SnapshotResponse {}))
    }

    async fn stats(
        &self,
        _: tonic::Request<StatsRequest>,
    ) -> Result<tonic::Response<StatsResponse>, Status> {
        let vmm = match self.vmm.load(Ordering::Relaxed) {
            0 => Usage::default(),
            id => usage_of(id),
        };
        let machine = match self.metrics.get() {
            None => None,
            Some(probe) => Some(told(probe.fresh().await)),
        };
        Ok(tonic::Response::new(StatsResponse {
            vmm_cpu_nanos: u64::try_from(vmm.cpu.as_nanos()).unwrap_or(u64::MAX),
            vmm_resident_bytes: vmm.resident,
            monitor_resident_bytes: usage_of(std::process::id()).resident,
            read_bytes: vmm.read,
            written_bytes: vmm.written,
            calls: self.activity.calls(),
            machine,
        }))
    }
}
