//! The agent: serves its services to the machine's host.
//!
//! Purpose: the host's hand inside the machine. Invariants: one HTTP/2
//! connection (prior knowledge, this side is the server) at a time; processes
//! outlive it; no stream that nobody reads can hold up another, since the
//! connection's window covers every stream's; every task belongs to the serving
//! call.
//! Entry points: [`serve`], [`serve_in_turn`], [`run`] (in the machine).

mod channel;
mod clock;
mod connect;
mod entropy;
pub(crate) mod exec;
mod port;
mod preface;
mod router;
mod service;
mod tree;

use std::{convert::Infallible, io, time::Duration};

use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, sleep, timeout},
};
use tokio_util::task::TaskTracker;

use crate::console;
use channel::Patience;
use preface::Begun;
use router::Router;
use service::Agent;

pub(crate) use clock::since_boot;

pub use channel::Channel;

/// Most calls at a time.
const CALLS: u32 = 256;
/// Bytes that may wait unread in one call.
const CALL_WINDOW: u32 = 256 << 10;
/// Bytes that may wait unread in all calls together.
const CONNECTION_WINDOW: u32 = CALLS * CALL_WINDOW;
/// Bytes of answers that one call may have waiting for the stream.
const SEND_BUFFER: usize = 256 << 10;
/// Largest HTTP/2 frame: fewer, larger frames cost less under emulation.
const FRAME: u32 = 128 << 10;
/// How long the answer to a power-off may take to leave.
const FAREWELL: Duration = Duration::from_millis(300);
/// How long the host may take to be there when the machine boots.
const BOOT_PATIENCE: Duration = Duration::from_secs(15);
/// Between a connection and the next, so that a broken one costs little.
const RECONNECT_PAUSE: Duration = Duration::from_millis(20);
/// How long the processes of a lost host may take to end.
const RUNDOWN: Duration = Duration::from_secs(2);

/// Whether the host's clock is taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostTime {
    /// The machine's clock is set when it is more than 500 ms off, and the
    /// host's random bytes are mixed in.
    Adopt,
    /// Both stay as they are: the agent shares them with others.
    Ignore,
}

/// Why the agent ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The host asked for power-off.
    PowerOff,
    /// The host closed the stream, or broke the protocol.
    HostGone,
}

/// Serves the host on `stream` until it asks for power-off or is gone.
///
/// After a loss of the host all processes started for it have been ended. After
/// a power-off they run on: init ends them in order. Dropping the future leaves
/// them to the runtime.
pub async fn serve<S>(stream: S, host_time: HostTime) -> Ended
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let agent = Agent::new(TaskTracker::new(), host_time, since_boot());
    let ended = serve_one(stream, &agent).await;
    if ended == Ended::HostGone {
        end_processes(&agent).await;
    }
    ended
}

/// Serves the hosts that the streams lead to, one after the other, until one
/// asks for power-off: a host's connection may end without its machine, when
/// the machine is restored from a snapshot. Processes outlive a connection; all
/// are ended when there is no other stream. The program that serves them began so
/// long after the kernel.
pub async fn serve_in_turn<S>(
    mut next: impl AsyncFnMut() -> io::Result<S>,
    host_time: HostTime,
    began_after: Duration,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let agent = Agent::new(TaskTracker::new(), host_time, began_after);
    loop {
        let stream = match next().await {
            Ok(stream) => stream,
            Err(error) => {
                end_processes(&agent).await;
                return Err(error);
            }
        };
        match serve_one(stream, &agent).await {
            Ended::PowerOff => return Ok(()),
            Ended::HostGone => sleep(RECONNECT_PAUSE).await,
        }
    }
}

async fn end_processes(agent: &Agent) {
    drop(timeout(RUNDOWN, agent.sessions().end_all()).await);
}

async fn serve_one<S>(stream: S, agent: &Agent) -> Ended
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Ok(Some(stream)) = Begun::find(stream).await else {
        return Ended::HostGone;
    };
    let calls = TaskTracker::new();
    let agent = agent.on(calls.clone());
    let power_off = agent.power_off();
    let mut connection = Box::pin(connect(stream, agent, calls));
    tokio::select! {
        _ = connection.as_mut() => Ended::HostGone,
        () = power_off.notified() => {
            connection.as_mut().graceful_shutdown();
            drop(timeout(FAREWELL, connection).await);
            Ended::PowerOff
        }
    }
}

/// Serves the channel until the host asks for power-off. The process must have
/// one thread and be the machine's own; its program began so long after the
/// kernel.
pub fn run(channel: &Channel, began_after: Duration) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let ended = runtime.block_on(async {
        let mut patience = Patience::Until(Instant::now() + BOOT_PATIENCE);
        let next = async || {
            let stream = channel.open(patience).await?;
            if let Patience::Until(_) = patience {
                console::line("ready");
            }
            patience = Patience::Endless;
            Ok(stream)
        };
        serve_in_turn(next, HostTime::Adopt, began_after).await
    });
    // calls that still run must not hold up the end of the machine
    runtime.shutdown_background();
    ended
}

/// Calls of a connection, as tasks of a tracker.
#[derive(Clone, Debug)]
struct Tracked(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, call: F) {
        self.0.spawn(call);
    }
}

type Connection<S, F> = http2::Connection<TokioIo<S>, F, Tracked>;

fn connect<S>(
    stream: S,
    agent: Agent,
    tasks: TaskTracker,
) -> Connection<
    S,
    impl hyper::service::HttpService<
        Incoming,
        ResBody = tonic::body::Body,
        Error = Infallible,
        Future: Send,
    >,
>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let router = Router::new(agent, &tasks);
    let calls = service_fn(move |request| router.call(request));
    http2::Builder::new(Tracked(tasks))
        .max_concurrent_streams(CALLS)
        .initial_stream_window_size(CALL_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_frame_size(FRAME)
        .serve_connection(TokioIo::new(stream), calls)
}
