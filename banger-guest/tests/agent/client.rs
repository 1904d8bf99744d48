//! A host for the agent under test.

use std::{
    io::ErrorKind,
    net::Shutdown,
    os::unix::net::UnixStream as StdUnixStream,
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
    task::Poll,
    time::Duration,
};

use banger_guest::agent::{self, Ended, HostTime};
use banger_proto::{
    SPAWN_FAILURE_METADATA,
    guest::v1::{
        AttachExec, AttachExecRequest, AttachExecResponse, CloseStdin, CreateExecRequest,
        DeleteExecRequest, ExecAccepted, ExecInfo, ExecInput, ExecSignal, ExecStart, ExecStream,
        ListExecsRequest, SpawnFailure, TerminalSize, agent_service_client::AgentServiceClient,
        attach_exec_request::Request, attach_exec_response::Response, exec_exit::Outcome,
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

/// Calls the agent at the other end of a stream; the connection is driven for as
/// long as the set lives.
pub(crate) async fn dial(stream: UnixStream) -> (AgentServiceClient<Channel>, JoinSet<()>) {
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (sender, driver) = soon(handshake).await.unwrap();
    let mut connection = JoinSet::new();
    connection.spawn(async move { drop(driver.await) });
    let origin = http::Uri::from_static("http://guest");
    let client = AgentServiceClient::with_origin(Channel(sender), origin);
    (client, connection)
}

/// Runs an agent on streams that the host connects by, one after the other, with
/// a thread to itself, as in a machine.
fn serve(mut streams: mpsc::Receiver<StdUnixStream>) -> Ended {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let next = async || {
            let stream = streams.recv().await.ok_or(ErrorKind::NotConnected)?;
            UnixStream::from_std(stream)
        };
        match agent::serve_in_turn(next, HostTime::Ignore, Duration::ZERO).await {
            Ok(()) => Ended::PowerOff,
            Err(_) => Ended::HostGone,
        }
    })
}

/// A connected host and its agent.
pub(crate) struct Host {
    pub(crate) client: AgentServiceClient<Channel>,
    connection: JoinSet<()>,
    socket: StdUnixStream,
    links: Option<mpsc::Sender<StdUnixStream>>,
    agent: JoinSet<Ended>,
    ids: AtomicU64,
}

impl Host {
    pub(crate) async fn connect() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "the agent's tests need root: it changes users"
        );
        let (links, streams) = mpsc::channel(1);
        let mut agent = JoinSet::new();
        agent.spawn_blocking(|| serve(streams));
        let (client, connection, socket) = link(&links).await;
        Self {
            client,
            connection,
            socket,
            links: Some(links),
            agent,
            ids: AtomicU64::new(0),
        }
    }

    /// Connects again on the same channel.
    pub(crate) async fn connect_again(&mut self) {
        let links = self.links.as_ref().expect("the channel has ended");
        (self.client, self.connection, self.socket) = link(links).await;
    }

    /// Starts a process and attaches to it; it ends soon after it is left.
    pub(crate) async fn start(&self, start: ExecStart) -> Result<Running, Status> {
        let number = self.ids.fetch_add(1, Ordering::Relaxed);
        let request = CreateExecRequest {
            exec_id: format!("exec-{number}"),
            start: Some(start),
            // long enough to attach
            detach_grace_millis: 1000,
            ..CreateExecRequest::default()
        };
        self.create(request.clone()).await?;
        self.attach(&request.exec_id, 0).await
    }

    /// Starts a session.
    pub(crate) async fn create(&self, request: CreateExecRequest) -> Result<u32, Status> {
        let created = soon(self.client.clone().create_exec(request)).await?;
        Ok(created.into_inner().pid)
    }

    /// Attaches to a session.
    pub(crate) async fn attach(&self, id: &str, from_offset: u64) -> Result<Running, Status> {
        let exec_id = id.to_owned();
        let attach = AttachExec {
            exec_id,
            from_offset,
        };
        let (requests, responses) = self.send([Request::Attach(attach)]).await?;
        let mut running = Running {
            requests,
            responses,
            pid: 0,
            accepted: ExecAccepted::default(),
            sent: 0,
            signals: 0,
            offset: from_offset,
        };
        match running.next().await? {
            Some(Response::Attached(attached)) => {
                running.pid = attached.pid;
                running.accepted = attached.accepted.unwrap();
                running.sent = running.accepted.stdin_offset;
                running.signals = running.accepted.signals;
            }
            other => panic!("not attached: {other:?}"),
        }
        Ok(running)
    }

    /// Calls `AttachExec` with these first requests.
    pub(crate) async fn send<const N: usize>(
        &self,
        first: [Request; N],
    ) -> Result<
        (
            mpsc::Sender<AttachExecRequest>,
            Streaming<AttachExecResponse>,
        ),
        Status,
    > {
        let (requests, receiver) = mpsc::channel(32);
        for request in first {
            let request = Some(request);
            requests.try_send(AttachExecRequest { request }).unwrap();
        }
        let mut client = self.client.clone();
        let answer = soon(client.attach_exec(ReceiverStream::new(receiver))).await?;
        Ok((requests, answer.into_inner()))
    }

    /// The sessions there are.
    pub(crate) async fn list(&self) -> Vec<ExecInfo> {
        let listed = soon(self.client.clone().list_execs(ListExecsRequest {})).await;
        listed.unwrap().into_inner().execs
    }

    /// Ends a session; answers whether there was one.
    pub(crate) async fn delete(&self, id: &str) -> bool {
        let exec_id = id.to_owned();
        let deleted = soon(
            self.client
                .clone()
                .delete_exec(DeleteExecRequest { exec_id }),
        )
        .await;
        deleted.unwrap().into_inner().existed
    }

    /// Runs a process to its end without input.
    pub(crate) async fn run(&self, start: ExecStart) -> Finished {
        let running = self.start(start).await.unwrap();
        running.exchange(Bytes::new()).await
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
    pub(crate) fn cut(&mut self) {
        self.socket.shutdown(Shutdown::Both).unwrap();
        self.connection.detach_all();
    }

    /// Cuts the connection, and will not connect again.
    pub(crate) fn hang_up(&mut self) {
        self.cut();
        self.links = None;
    }

    /// Why the agent ended.
    pub(crate) async fn agent_ended(&mut self) -> Ended {
        soon(self.agent.join_next()).await.unwrap().unwrap()
    }
}

type Link = (AgentServiceClient<Channel>, JoinSet<()>, StdUnixStream);

async fn link(links: &mpsc::Sender<StdUnixStream>) -> Link {
    let (host, guest) = StdUnixStream::pair().unwrap();
    for end in [&host, &guest] {
        end.set_nonblocking(true).unwrap();
    }
    let socket = host.try_clone().unwrap();
    soon(links.send(guest)).await.unwrap();
    let (client, connection) = dial(UnixStream::from_std(host).unwrap()).await;
    (client, connection, socket)
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

/// A process that runs, and its client.
pub(crate) struct Running {
    requests: mpsc::Sender<AttachExecRequest>,
    responses: Streaming<AttachExecResponse>,
    pub(crate) pid: u32,
    pub(crate) accepted: ExecAccepted,
    sent: u64,
    signals: u64,
    /// Where the next output must be.
    pub(crate) offset: u64,
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
        soon(self.requests.send(AttachExecRequest { request }))
            .await
            .unwrap();
    }

    pub(crate) async fn close_stdin(&self) {
        self.request(Request::CloseStdin(CloseStdin {})).await;
    }

    pub(crate) async fn stdin(&mut self, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        let offset = self.sent;
        self.sent += bytes.len() as u64;
        self.request(Request::Input(ExecInput { offset, bytes }))
            .await;
    }

    pub(crate) async fn signal(&mut self, number: u32) {
        let ordinal = self.signals;
        self.signals += 1;
        self.request(Request::Signal(ExecSignal { number, ordinal }))
            .await;
    }

    /// Everything so far is safe.
    pub(crate) async fn acknowledge(&self) {
        self.request(Request::Acknowledged(self.offset)).await;
    }

    /// The next response that is not about input; output must be in order.
    pub(crate) async fn next(&mut self) -> Result<Option<Response>, Status> {
        loop {
            let message = soon(self.responses.message()).await?;
            match message.map(|message| message.response.expect("an empty response")) {
                Some(Response::Accepted(accepted)) => self.accepted = accepted,
                Some(Response::Output(output)) => {
                    assert_eq!(output.offset, self.offset);
                    self.offset += checked(&output.bytes).len() as u64;
                    return Ok(Some(Response::Output(output)));
                }
                other => return Ok(other),
            }
        }
    }

    /// Reads standard output until it holds this text.
    pub(crate) async fn expect(&mut self, text: &str) -> String {
        let mut seen = String::new();
        while !seen.contains(text) {
            match self.next().await.unwrap() {
                Some(Response::Output(output)) if output.stream() == ExecStream::Stdout => {
                    seen += std::str::from_utf8(&output.bytes).unwrap();
                }
                other => panic!("after {seen:?}: {other:?}"),
            }
        }
        seen
    }

    /// Sends input and its end as the process takes it, and collects everything.
    pub(crate) async fn exchange(mut self, input: Bytes) -> Finished {
        let mut finished = Finished::default();
        let mut left = input;
        let mut closed = false;
        loop {
            // one that ended takes no more
            while !left.is_empty() && self.sent < self.accepted.stdin_limit {
                let granted = usize::try_from(self.accepted.stdin_limit - self.sent).unwrap();
                let length = left.len().min(granted).min(banger_proto::MAX_EXEC_CHUNK);
                let (offset, bytes) = (self.sent, left.split_to(length));
                self.sent += length as u64;
                self.offer(Request::Input(ExecInput { offset, bytes }))
                    .await;
            }
            if left.is_empty() && !closed {
                closed = true;
                self.offer(Request::CloseStdin(CloseStdin {})).await;
            }
            match soon(self.responses.message()).await.unwrap() {
                Some(message) => self.collect(message, &mut finished).await,
                None => break,
            }
        }
        assert!(finished.outcome.is_some(), "no exit: {finished:?}");
        finished
    }

    /// Collects everything to the end; the exit must be the last message.
    pub(crate) async fn finish(mut self) -> Finished {
        let mut finished = Finished::default();
        while let Some(message) = soon(self.responses.message()).await.unwrap() {
            self.collect(message, &mut finished).await;
        }
        assert!(finished.outcome.is_some(), "no exit: {finished:?}");
        finished
    }

    async fn collect(&mut self, message: AttachExecResponse, finished: &mut Finished) {
        assert_eq!(finished.outcome, None, "a message after the exit");
        match message.response.expect("an empty response") {
            Response::Output(output) => {
                assert_eq!(output.offset, self.offset);
                self.offset += output.bytes.len() as u64;
                match output.stream() {
                    ExecStream::Stdout => {
                        finished.stdout.extend_from_slice(checked(&output.bytes));
                    }
                    ExecStream::Stderr => {
                        finished.stderr.extend_from_slice(checked(&output.bytes));
                    }
                    ExecStream::Unspecified => panic!("output of no stream"),
                }
                self.offer(Request::Acknowledged(self.offset)).await;
            }
            Response::Accepted(accepted) => self.accepted = accepted,
            Response::Exit(exit) => finished.outcome = exit.outcome,
            other => panic!("{other:?}"),
        }
    }

    /// Sends to a session that may be over.
    async fn offer(&self, request: Request) {
        let request = Some(request);
        drop(soon(self.requests.send(AttachExecRequest { request })).await);
    }
}

fn checked(chunk: &Bytes) -> &[u8] {
    assert!((1..=banger_proto::MAX_EXEC_CHUNK).contains(&chunk.len()));
    chunk
}
