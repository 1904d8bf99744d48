//! The server's life: from the first connection to the last.
//!
//! Invariants: it listens from the first moment on and says that it is starting;
//! asked to end, it begins nothing new, finishes what it has begun within a limit
//! and ends; every wait has a deadline. Entry points: [`Server`].

use std::{sync::Arc, time::Duration};

use banger_api::{
    DESCRIPTORS,
    v1::{
        event_service_server::EventServiceServer, exec_service_server::ExecServiceServer,
        file_service_server::FileServiceServer, image_service_server::ImageServiceServer,
        kernel_service_server::KernelServiceServer,
        operation_service_server::OperationServiceServer, port_service_server::PortServiceServer,
        session_service_server::SessionServiceServer,
        snapshot_service_server::SnapshotServiceServer, system_service_server::SystemServiceServer,
        upload_service_server::UploadServiceServer, vm_service_server::VmServiceServer,
        volume_service_server::VolumeServiceServer,
    },
};
use banger_core::store::StoreError;
use tokio::{sync::Mutex, time::sleep};
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Router;
use tower_layer::{Identity, Stack};

use crate::{
    access::Gate,
    backend::{Backend, Front, Hub},
    call::layer::CallLayer,
    metrics::Meter,
    operations::Operations,
    phase::Phases,
    services::{
        event::Events, exec::Execs, file::Files, image::Images, image_disk::Readings,
        kernel::Kernels, operation::OperationsOf, port::Ports, session::Sessions,
        snapshot::Snapshots, system::System, upload::UploadsOf, vm::Vms, volume::Volumes,
        watcher::News,
    },
    transport::{Listeners, security::Security},
};

/// How often a connection is asked whether it is still there, and how long that
/// may take.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(20));

/// How long calls may go on after the work is done or left.
const LINGER: Duration = Duration::from_secs(1);

/// What a server takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest message of a client.
    pub request_bytes: usize,
    /// Largest message to a client.
    pub response_bytes: usize,
    /// Most calls at a time on one connection.
    pub calls_per_connection: u32,
    /// Most calls at a time of one caller, whatever their connections.
    pub calls_per_caller: u32,
    /// Most connections at a time of each listener.
    pub connections: u32,
    /// How long operations and changes may go on after the server was asked to end,
    /// before operations are left to the next one and calls broken.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        const MIB: usize = 1024 * 1024;
        Self {
            request_bytes: MIB,
            response_bytes: 4 * MIB,
            calls_per_connection: 256,
            calls_per_caller: 4096,
            connections: 1024,
            drain: Duration::from_secs(30),
        }
    }
}

/// What a server is made with.
#[derive(Clone, Debug)]
pub struct Options {
    /// What it takes.
    pub limits: Limits,
    /// Whom it lets in from elsewhere.
    pub security: Arc<Security>,
    /// Whether it describes its services to whoever has credentials.
    pub reflection: bool,
}

impl From<Limits> for Options {
    /// Those of a server that only its host's users reach.
    fn from(limits: Limits) -> Self {
        Self {
            limits,
            security: Arc::new(Security::local()),
            reflection: true,
        }
    }
}

type LayeredRouter = Router<Stack<CallLayer, Identity>>;

/// A server that is being put together.
#[derive(Debug)]
pub struct Server {
    front: Front,
    limits: Limits,
    meter: Meter,
    router: LayeredRouter,
}

/// Lets a server serve.
#[derive(Debug)]
pub struct Opener {
    front: Front,
}

impl Opener {
    /// What crashes left is repaired: the server goes on with the operations of those
    /// before it, and serves from now on.
    pub async fn open(self, backend: Backend) -> Result<(), StoreError> {
        if let Err(error) = backend.uploads.find() {
            let error = banger_core::error::in_words(&error);
            tracing::warn!(error, "uploads of former servers cannot be gone on with");
        }
        let operations = Operations::new(backend.clone());
        operations.resume().await?;
        let hub = Arc::new(Hub {
            backend,
            operations,
            news: News::default(),
        });
        // an opener is used up by opening: nobody did before
        let _first = self.front.hub.set(hub);
        self.front.phases.serve().await;
        Ok(())
    }
}

/// The server could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The descriptors for reflection are damaged.
    #[error("failed to describe the services")]
    Reflection(#[source] tonic_reflection::server::Error),
    /// The transport failed.
    #[error("failed to serve")]
    Transport(#[source] tonic::transport::Error),
}

impl Server {
    /// A server that starts: only [`Phases`] and what they are told by answers.
    pub async fn new(options: impl Into<Options>) -> Result<Self, ServeError> {
        let Options {
            limits,
            security,
            reflection,
        } = options.into();
        let (reporter, health) = tonic_health::server::health_reporter();
        let phases = Phases::starting(reporter).await;
        let front = Front::new(phases);
        let system = System {
            front: front.clone(),
            limits,
            looking: Mutex::default(),
        };
        let system = SystemServiceServer::new(system)
            .max_decoding_message_size(limits.request_bytes)
            .max_encoding_message_size(limits.response_bytes);
        let layer = CallLayer::new(Gate::new(security), limits.calls_per_caller);
        let meter = Meter::new(layer.metrics(), front.clone());
        let mut router = tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE.0))
            .http2_keepalive_timeout(Some(KEEPALIVE.1))
            .max_concurrent_streams(Some(limits.calls_per_connection))
            .layer(layer)
            .add_service(health)
            .add_service(system);
        if reflection {
            router = with_reflection(router).map_err(ServeError::Reflection)?;
        }
        Ok(Self {
            meter,
            router: with_services(router, &front, limits),
            front,
            limits,
        })
    }

    /// What reads what the server counts.
    #[must_use]
    pub fn meter(&self) -> Meter {
        self.meter.clone()
    }

    /// What lets the server serve once the services are ready.
    #[must_use]
    pub fn opener(&self) -> Opener {
        Opener {
            front: self.front.clone(),
        }
    }

    /// Serves until `asked_to_end` is ready, then drains. Cancelling ends it at
    /// once; machines run on whatever happens here.
    pub async fn serve(
        self,
        listeners: impl Into<Listeners>,
        asked_to_end: impl Future<Output = ()> + Send,
    ) -> Result<(), ServeError> {
        let (front, limits) = (self.front, self.limits);
        let listeners = listeners.into();
        let connections = listeners.connections(limits.connections);
        let ended = CancellationToken::new();
        let ending = async {
            asked_to_end.await;
            front.phases.drain().await;
            if let Some(hub) = front.hub.get() {
                let calls = front.acted(limits.drain);
                tokio::join!(hub.operations.drain(limits.drain), calls);
            }
            ended.cancel();
        };
        let serving = self
            .router
            .serve_with_incoming_shutdown(connections, ending);
        let over = async {
            ended.cancelled().await;
            sleep(LINGER).await;
        };
        tokio::select! {
            served = serving => served.map_err(ServeError::Transport),
            () = over => {
                tracing::info!("calls that did not end by themselves were ended");
                Ok(())
            }
        }
    }
}

/// Adds the services that need the core.
fn with_services(router: LayeredRouter, front: &Front, limits: Limits) -> LayeredRouter {
    macro_rules! limited {
        ($server:ident, $service:expr) => {
            $server::new($service)
                .max_decoding_message_size(limits.request_bytes)
                .max_encoding_message_size(limits.response_bytes)
        };
    }
    // each caller reads so many at a time, of both
    let readings = Readings::default();
    router
        .add_service(limited!(EventServiceServer, Events(front.clone())))
        .add_service(limited!(ExecServiceServer, Execs(front.clone())))
        .add_service(limited!(FileServiceServer, Files(front.clone())))
        .add_service(limited!(
            ImageServiceServer,
            Images::new(front.clone(), readings.clone())
        ))
        .add_service(limited!(
            KernelServiceServer,
            Kernels::new(front.clone(), readings)
        ))
        .add_service(limited!(
            OperationServiceServer,
            OperationsOf(front.clone())
        ))
        .add_service(limited!(PortServiceServer, Ports(front.clone())))
        .add_service(limited!(SessionServiceServer, Sessions(front.clone())))
        .add_service(limited!(SnapshotServiceServer, Snapshots(front.clone())))
        .add_service(limited!(UploadServiceServer, UploadsOf::new(front.clone())))
        .add_service(limited!(VmServiceServer, Vms(front.clone())))
        .add_service(limited!(VolumeServiceServer, Volumes(front.clone())))
}

fn with_reflection(
    router: LayeredRouter,
) -> Result<LayeredRouter, tonic_reflection::server::Error> {
    let router = router.add_service(reflection().build_v1()?);
    Ok(router.add_service(reflection().build_v1alpha()?))
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}
