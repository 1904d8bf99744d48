//! The agent: serves `AgentService` on one byte stream.
//!
//! Purpose: the host's hand inside the machine. Invariants: one HTTP/2
//! connection (prior knowledge, this side is the server) for the life of the
//! machine; no stream that nobody reads can hold up another, since the
//! connection's window covers every stream's; every task belongs to the serving
//! call.
//! Entry points: [`serve`], [`run`] (in the machine).

mod clock;
pub(crate) mod exec;
mod port;
mod service;

use std::{convert::Infallible, io, time::Duration};

use banger_proto::guest::v1::agent_service_server::AgentServiceServer;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_util::task::TaskTracker;
use tonic::codegen::Service as _;

use crate::console;
use service::Agent;

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
/// How long the calls of a lost host may take to end their processes.
const RUNDOWN: Duration = Duration::from_secs(2);

/// Whether the host's clock is taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostTime {
    /// The machine's clock is set when it is more than 500 ms off.
    Adopt,
    /// The clock stays as it is: the agent shares it with others.
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
    let tasks = TaskTracker::new();
    let agent = Agent::new(tasks.clone(), host_time);
    let power_off = agent.power_off();
    let mut connection = Box::pin(connect(stream, agent, tasks.clone()));
    tokio::select! {
        _ = connection.as_mut() => {}
        () = power_off.notified() => {
            connection.as_mut().graceful_shutdown();
            drop(timeout(FAREWELL, connection).await);
            return Ended::PowerOff;
        }
    }
    drop(connection);
    tasks.close();
    drop(timeout(RUNDOWN, tasks.wait()).await);
    Ended::HostGone
}

/// Opens the channel's port and serves it. The process must have one thread and
/// be the machine's own.
pub fn run(channel_port: &str) -> io::Result<Ended> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let ended = runtime.block_on(async {
        let port = port::open(channel_port).await?;
        console::line("ready");
        Ok(serve(port, HostTime::Adopt).await)
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
    let server = AgentServiceServer::new(agent);
    let calls = service_fn(move |request| server.clone().call(request));
    http2::Builder::new(Tracked(tasks))
        .max_concurrent_streams(CALLS)
        .initial_stream_window_size(CALL_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_frame_size(FRAME)
        .serve_connection(TokioIo::new(stream), calls)
}
