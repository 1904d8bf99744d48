//! A host for the agent under test.

use std::{net::Shutdown, pin::Pin, task::Poll, time::Duration};

use banger_guest::agent::{self, Ended, HostTime};
use banger_proto::{
    SPAWN_FAILURE_METADATA,
    guest::v1::{
        CloseStdin, ExecRequest, ExecResponse, ExecStart, SpawnFailure, TerminalSize,
        agent_service_client::AgentServiceClient, exec_exit::Outcome, exec_request::Request,
        exec_response::Response,
    },
};
use bytes::Bytes;
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::UnixStream, sync::mpsc, task::JoinSet, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, body::Body, codegen::Service};

/// No single step of a test takes this long.
const PATIENCE: Duration = Duration::from_mins(1);

/// Waits for something that must happen.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("it took too long")
}

/// The connection as tonic's client wants it.
#[derive(Clone, Debug)]
pub(crate) struct Channel(http2::SendRequest<Body>);

impl Service<http::Request<Body>> for Channel {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<Result<(), hyper::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// A connected host and its agent.
pub(crate) struct Host {
    pub(crate) client: AgentServiceClient<Channel>,
    connection: JoinSet<()>,
    socket: std::os::unix::net::UnixStream,
    agent: JoinSet<Ended>,
}

impl Host {
    pub(crate) async fn connect() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "the agent's tests need root: it changes users"
        );
        let (host, guest) = UnixStream::pair().unwrap();
        let host = host.into_std().unwrap();
        let socket = host.try_clone().unwrap();
        let host = UnixStream::from_std(host).unwrap();
        let mut agent = JoinSet::new();
        agent.spawn(agent::serve(guest, HostTime::Ignore));
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(host));
        let (sender, driver) = soon(handshake).await.unwrap();
        let mut connection = JoinSet::new();
        connection.spawn(async move { drop(driver.await) });
        let origin = http::Uri::from_static("http://guest");
        Self {
            client: AgentServiceClient::with_origin(Channel(sender), origin),
            connection,
            socket,
            agent,
        }
    }

    /// Starts a process.
    pub(crate) async fn start(&self, start: ExecStart) -> Result<Running, Status> {
        let (requests, responses) = self.send([Request::Start(start)]).await?;
        let mut running = Running {
            requests,
            responses,
            pid: 0,
        };
        match running.next().await? {
            Some(Response::Started(started)) => running.pid = started.pid,
            other => panic!("not started: {other:?}"),
        }
        Ok(running)
    }

    /// Calls `Exec` with these first requests.
    pub(crate) async fn send<const N: usize>(
        &self,
        first: [Request; N],
    ) -> Result<(mpsc::Sender<ExecRequest>, Streaming<ExecResponse>), Status> {
        let (requests, receiver) = mpsc::channel(32);
        for request in first {
            let request = Some(request);
            requests.try_send(ExecRequest { request }).unwrap();
        }
        let mut client = self.client.clone();
        let answer = soon(client.exec(ReceiverStream::new(receiver))).await?;
        Ok((requests, answer.into_inner()))
    }

    /// Runs a process to its end without input.
    pub(crate) async fn run(&self, start: ExecStart) -> Finished {
        let running = self.start(start).await.unwrap();
        let request = Some(Request::CloseStdin(CloseStdin {}));
        // it may have ended by now
        drop(running.requests.try_send(ExecRequest { request }));
        running.finish().await
    }

    /// Runs a shell script.
    pub(crate) async fn shell(&self, script: &str) -> Finished {
        self.run(command(&["sh", "-c", script])).await
    }

    /// How a process fails to start.
    pub(crate) async fn failure(&self, start: ExecStart) -> (SpawnFailure, Status) {
        let status = self
            .start(start)
            .await
            .map(|running| running.pid)
            .unwrap_err();
        (failure_of(&status), status)
    }

    /// Cuts the connection.
    pub(crate) fn hang_up(&mut self) {
        self.socket.shutdown(Shutdown::Both).unwrap();
        self.connection.detach_all();
    }

    /// Why the agent ended.
    pub(crate) async fn agent_ended(&mut self) -> Ended {
        soon(self.agent.join_next()).await.unwrap().unwrap()
    }
}

/// The failure that a status names.
pub(crate) fn failure_of(status: &Status) -> SpawnFailure {
    let number = status.metadata().get(SPAWN_FAILURE_METADATA);
    let number = number.unwrap_or_else(|| panic!("no number in {status:?}"));
    SpawnFailure::try_from(number.to_str().unwrap().parse::<i32>().unwrap()).unwrap()
}

/// A request to run a program.
pub(crate) fn command(argv: &[&str]) -> ExecStart {
    ExecStart {
        argv: argv
            .iter()
            .map(|text| Bytes::from((*text).to_owned()))
            .collect(),
        ..ExecStart::default()
    }
}

/// The same with a terminal.
pub(crate) fn on_terminal(argv: &[&str], rows: u32, columns: u32) -> ExecStart {
    ExecStart {
        terminal: Some(TerminalSize { rows, columns }),
        ..command(argv)
    }
}

/// A process that runs.
pub(crate) struct Running {
    requests: mpsc::Sender<ExecRequest>,
    responses: Streaming<ExecResponse>,
    pub(crate) pid: u32,
}

/// A process that ended.
#[derive(Debug, Default)]
pub(crate) struct Finished {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) outcome: Option<Outcome>,
}

impl Finished {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap().trim_end()
    }

    /// The text of a process that must have succeeded.
    pub(crate) fn success(&self) -> &str {
        assert_eq!(self.outcome, Some(Outcome::Code(0)), "{self:?}");
        self.text()
    }
}

impl Running {
    pub(crate) async fn request(&self, request: Request) {
        let request = Some(request);
        soon(self.requests.send(ExecRequest { request }))
            .await
            .unwrap();
    }

    /// Sends input to a process that may have ended; answers whether it could.
    pub(crate) async fn offer(&self, bytes: impl Into<Bytes>) -> bool {
        let request = Some(Request::Stdin(bytes.into()));
        soon(self.requests.send(ExecRequest { request }))
            .await
            .is_ok()
    }

    pub(crate) async fn close_stdin(&self) {
        self.request(Request::CloseStdin(CloseStdin {})).await;
    }

    pub(crate) async fn stdin(&self, bytes: impl Into<Bytes>) {
        self.request(Request::Stdin(bytes.into())).await;
    }

    /// The sending side, for a task of its own.
    pub(crate) fn requests(&self) -> mpsc::Sender<ExecRequest> {
        self.requests.clone()
    }

    pub(crate) async fn next(&mut self) -> Result<Option<Response>, Status> {
        let message = soon(self.responses.message()).await?;
        Ok(message.map(|message| message.response.expect("an empty response")))
    }

    /// Reads standard output until it holds this text.
    pub(crate) async fn expect(&mut self, text: &str) -> String {
        let mut seen = String::new();
        while !seen.contains(text) {
            match self.next().await.unwrap() {
                Some(Response::Stdout(bytes)) => seen += std::str::from_utf8(&bytes).unwrap(),
                other => panic!("after {seen:?}: {other:?}"),
            }
        }
        seen
    }

    /// Collects everything to the end; the exit must be the last message.
    pub(crate) async fn finish(mut self) -> Finished {
        let mut finished = Finished::default();
        while let Some(response) = self.next().await.unwrap() {
            assert_eq!(finished.outcome, None, "a message after the exit");
            match response {
                Response::Stdout(bytes) => finished.stdout.extend_from_slice(checked(&bytes)),
                Response::Stderr(bytes) => finished.stderr.extend_from_slice(checked(&bytes)),
                Response::Exit(exit) => finished.outcome = exit.outcome,
                Response::Started(_) => panic!("started twice"),
            }
        }
        assert!(finished.outcome.is_some(), "no exit: {finished:?}");
        finished
    }
}

fn checked(chunk: &Bytes) -> &[u8] {
    assert!((1..=banger_proto::MAX_EXEC_CHUNK).contains(&chunk.len()));
    chunk
}
