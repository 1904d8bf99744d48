//! `bangerd`: banger as a service.
//!
//! Purpose: a thin front end over `banger_grpc`, with the settings of the `banger`
//! command: same flags, same variables, same configuration, same state.
//! Invariants: it listens before it repairs what a crash left, and health tells
//! which it is; SIGTERM and SIGINT drain it; machines never end with it.

mod activation;
mod arguments;
mod budget;
mod listen;
mod monitor;

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    process::ExitCode,
    sync::Arc,
};

use banger_cli::{
    config::Config,
    environment::{self, Environment},
    error::CliError,
    exit::{self, Surface},
    policy,
    services::Services,
    settings::{self, Settings},
};
use banger_core::{
    clock::SystemClock,
    error::in_words,
    store::{Connections, StoreError},
};
use banger_grpc::{
    backend::Backend,
    metrics::{Meter, MetricsError, MetricsListener},
    server::{Opener, ServeError, Server},
    socket::{ServerSocket, SocketError},
    transport::{
        Listeners,
        security::{Security, SecurityError},
        tcp::{ListenError, TlsListener},
    },
    uploads::Uploads,
};
use camino::{Utf8Path, Utf8PathBuf};
use clap::Parser as _;
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};

use activation::Notifier;
use arguments::Arguments;
use budget::BudgetArguments;

/// The service could not be started, or could not go on.
#[derive(Debug, thiserror::Error)]
enum DaemonError {
    /// Settings, or what crashes left, cannot be used.
    #[error(transparent)]
    Cli(#[from] CliError),
    /// The socket cannot be made.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// Certificates or credentials cannot be used.
    #[error(transparent)]
    Security(#[from] SecurityError),
    /// There is no way for clients from elsewhere.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// There is no way to ask for metrics.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The records of operations cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The server failed.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The host lacks something every program has.
    #[error("failed to set up {what}")]
    Setup {
        what: &'static str,
        source: io::Error,
    },
}

fn main() -> ExitCode {
    let words = environment::arguments();
    if let Some(arguments) = monitor::arguments(&words) {
        return monitor::main(arguments);
    }
    let arguments = match Arguments::try_parse_from(words) {
        Ok(arguments) => arguments,
        Err(error) => {
            // there is nobody left to tell
            drop(error.print());
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(exit::USAGE));
        }
    };
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::from(status(&error))
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), DaemonError> {
    let environment = Environment::read().map_err(CliError::from)?;
    start_log(&environment);
    let settings = settings(arguments, &environment)?;
    let socket = arguments.socket.clone();
    let socket = socket.unwrap_or_else(|| settings.directories.runtime.join("grpc.sock"));
    let runtime = Runtime::new().map_err(|source| DaemonError::Setup {
        what: "the async runtime",
        source,
    })?;
    let served = runtime.block_on(serve(arguments, settings, socket));
    runtime.shutdown_background();
    served
}

/// Listens, repairs, serves.
async fn serve(
    arguments: &Arguments,
    settings: Settings,
    socket: Utf8PathBuf,
) -> Result<(), DaemonError> {
    let signals = |source| DaemonError::Setup {
        what: "signal handling",
        source,
    };
    let notifier = Notifier::from_environment();
    let asked_to_end = asked_to_end().map_err(signals)?;
    let asked_to_end = async {
        asked_to_end.await;
        notifier.tell("STOPPING=1");
    };
    let security = Arc::new(Security::load(arguments.listen.files())?);
    let refreshing = listen::refresh(Arc::clone(&security)).map_err(signals)?;
    let listeners = listeners(arguments, &socket, &security).await?;
    let server = Server::new(arguments.serve.options(security)).await?;
    let opener = server.opener();
    let metrics = metrics(arguments.serve.metrics, server.meter()).await?;
    let serving = server.serve(listeners, asked_to_end);
    tracing::info!(%socket, "listening");
    let whole = async {
        tokio::pin!(serving);
        tokio::select! {
            // asked to end before it began
            ended = &mut serving => return ended.map_err(Into::into),
            ready = Box::pin(open(settings, opener, &arguments.budget)) => ready?,
        }
        tracing::info!("serving");
        notifier.tell("READY=1");
        serving.await.map_err(Into::into)
    };
    tokio::select! {
        ended = Box::pin(whole) => ended,
        ((), ()) = async { tokio::join!(refreshing, metrics) } => Ok(()),
    }
}

/// What was passed on, or the socket, and what clients from elsewhere connect to.
async fn listeners(
    arguments: &Arguments,
    socket: &Utf8Path,
    security: &Arc<Security>,
) -> Result<Listeners, DaemonError> {
    let setup = |source| DaemonError::Setup {
        what: "a socket that was passed on",
        source,
    };
    let inherited = activation::inherited().map_err(setup)?;
    let mut listeners = Listeners::from(match inherited.unix {
        Some(unix) => ServerSocket::inherit(unix).map_err(setup)?,
        None => ServerSocket::bind(socket).await?,
    });
    for tcp in inherited.tcp {
        let listener = TlsListener::inherit(tcp, Arc::clone(security))?;
        listeners.tls.push(listener);
    }
    arguments.listen.add_to(&mut listeners, security).await?;
    Ok(listeners)
}

/// Tells what is counted for as long as it is polled, if it is to be told.
async fn metrics(
    address: Option<SocketAddr>,
    meter: Meter,
) -> Result<impl Future<Output = ()> + Send, MetricsError> {
    let listener = match address {
        Some(address) => Some(MetricsListener::bind(address).await?),
        None => None,
    };
    if let Some(Ok(address)) = listener.as_ref().map(MetricsListener::address) {
        tracing::info!(%address, "telling metrics");
    }
    Ok(async move {
        match listener {
            Some(listener) => listener.serve(meter).await,
            None => std::future::pending().await,
        }
    })
}

/// Repairs what crashes left, and lets the server serve.
async fn open(
    settings: Settings,
    opener: Opener,
    budget: &BudgetArguments,
) -> Result<(), DaemonError> {
    let directories = settings.directories.clone();
    let opening = Services::open_with_store(settings, Connections::Apart);
    let (services, store) = Box::pin(opening).await?;
    let backend = Backend {
        images: services.images,
        kernels: services.kernels,
        vms: services.vms,
        builder: services.builder,
        doctor: services.doctor,
        volumes: services.volumes,
        store,
        uploads: Uploads::new(directories.cache.join("uploads"), budget.uploads()),
        clock: Arc::new(SystemClock),
        budget: budget
            .budget(&directories.state)
            .map_err(|source| DaemonError::Setup {
                what: "the budget of the host",
                source,
            })?,
    };
    opener.open(backend).await?;
    Ok(())
}

/// Listens to SIGTERM and SIGINT from now on; the future is ready when one came.
fn asked_to_end() -> io::Result<impl Future<Output = ()> + Send> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("draining");
    })
}

fn settings(arguments: &Arguments, environment: &Environment) -> Result<Settings, CliError> {
    let flags = arguments.global();
    let config = match settings::config_file(&flags, environment) {
        Some((path, named)) => Config::read(&path, named)?,
        None => Config::default(),
    };
    let mut settings = settings::resolve(&flags, environment, &config, &camino::Utf8Path::is_file)?;
    if let Some(path) = &settings.policy {
        settings.supply.policy = policy::read(path)?;
    }
    Ok(settings)
}

/// A service says what it does, unless it is told what to log.
fn start_log(environment: &Environment) {
    let filter = environment.log.as_deref().unwrap_or("info");
    let filter = tracing_subscriber::EnvFilter::builder().parse_lossy(filter);
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(io::stderr);
    // this is the program's first step: there is no other log
    let _other = log.try_init();
}

fn status(error: &DaemonError) -> u8 {
    match error {
        DaemonError::Cli(error) => exit::of_error(error, Surface::Own),
        DaemonError::Store(error) => exit::of_kind(error.kind()),
        DaemonError::Socket(error) => exit::of_kind(error.kind()),
        DaemonError::Security(error) => exit::of_kind(error.kind()),
        DaemonError::Metrics(error) => exit::of_kind(error.kind()),
        DaemonError::Listen(error) => exit::of_kind(error.kind()),
        DaemonError::Serve(_) | DaemonError::Setup { .. } => exit::INTERNAL,
    }
}

fn complain(error: &DaemonError) {
    // there is nobody left to tell
    let _unseen = writeln!(io::stderr(), "bangerd: {}", in_words(error));
}
