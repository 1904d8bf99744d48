//! The helper that carries a VMM's user network: slirp4netns.
//!
//! Invariants: it is started when the VMM's namespaces are there and answers
//! before the machine runs; it dies with the thread that started it, and
//! with this value; it inherits one end of two pipes and nothing else.
//! Entry points: [`NetworkHelper::join`].

use std::{
    io::{self, PipeWriter},
    os::fd::OwnedFd,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use camino::{Utf8Path, Utf8PathBuf};
use rustix::process::geteuid;
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixStream, unix::pipe},
    process::Child,
    task::JoinSet,
    time::timeout,
};

use super::{
    NetworkError,
    namespace::HELPER_TAP,
    plan::{GUEST, NETWORK, PREFIX},
};
use crate::{
    domain::PublishedPort,
    process::{command, last_lines},
    step::reached,
    sys,
};

/// How long the helper may take to begin, and to answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// Most bytes of an answer.
const ANSWER_LIMIT: u64 = 64 * 1024;
/// Bytes of the helper's own words that are kept.
const WORDS_LIMIT: usize = 4096;
/// The helper's socket in the VM's private directory.
const SOCKET: &str = "network.sock";

/// A helper at work.
#[derive(Debug)]
pub(crate) struct NetworkHelper {
    child: Child,
    words: Arc<Mutex<Vec<u8>>>,
    /// Reads what the helper says, until it ends.
    _listener: JoinSet<()>,
    /// The helper ends when this does.
    _exit: PipeWriter,
}

/// What a helper is to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HelperRequest<'a> {
    /// `slirp4netns`; none when the host has it not.
    pub(crate) program: Option<&'a Utf8Path>,
    /// A process that lives in the namespaces.
    pub(crate) vmm: u32,
    /// Whether a user namespace is among them.
    pub(crate) in_user_namespace: bool,
    /// A private directory.
    pub(crate) directory: &'a Utf8Path,
    /// What leads to the guest; each with a host's port.
    pub(crate) ports: &'a [PublishedPort],
}

/// An answer of the helper's (slirp4netns(1), "API SOCKET").
#[derive(Debug, Deserialize)]
struct Answer {
    error: Option<Refusal>,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    desc: String,
}

/// The path of a helper's socket.
pub(crate) fn socket_path(directory: &Utf8Path) -> Utf8PathBuf {
    directory.join(SOCKET)
}

impl NetworkHelper {
    /// Starts a helper, and answers when it carries the network and leads the
    /// ports to the guest. To be called on a thread that lives as long as the
    /// machine shall.
    pub(crate) async fn join(request: &HelperRequest<'_>) -> Result<Self, NetworkError> {
        let program = request.program.ok_or(NetworkError::NoHelper)?;
        let (mut helper, ready) =
            Self::spawn(program, request).map_err(|error| NetworkError::Helper {
                problem: format!("{program}: {error}"),
            })?;
        reached("started the helper of a network");
        match timeout(DEADLINE, begun(ready)).await {
            Ok(Ok(())) => reached("a helper carries a network"),
            Ok(Err(_)) => return Err(helper.died().await),
            Err(_) => return Err(late("it was not ready")),
        }
        let socket = socket_path(request.directory);
        for port in request.ports {
            match timeout(DEADLINE, lead(&socket, port)).await {
                Ok(Ok(Answer { error: None })) => reached("led a port of the host to a guest"),
                Ok(Ok(Answer {
                    error: Some(refusal),
                })) => {
                    return Err(NetworkError::Port {
                        port: *port,
                        problem: refusal.desc,
                    });
                }
                Ok(Err(_)) => return Err(helper.died().await),
                Err(_) => return Err(late("it did not answer")),
            }
        }
        Ok(helper)
    }

    /// Its process, while it has not been waited for.
    #[cfg(test)]
    pub(super) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until the helper ended, and answers its last words. May be
    /// cancelled and called again.
    pub(crate) async fn ended(&mut self) -> String {
        let status = match self.child.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        let words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        let words = last_lines(&words);
        if words.is_empty() {
            return status;
        }
        format!("{status}: {words}")
    }

    /// Ends the helper, so that the host's ports are free when this returns.
    /// May be cancelled and called again.
    pub(crate) async fn end(&mut self) {
        match timeout(DEADLINE, self.child.kill()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the helper of a network was not ended"),
            Err(_) => tracing::warn!("the helper of a network does not end"),
        }
    }

    /// What became of a helper that does not answer.
    async fn died(&mut self) -> NetworkError {
        match timeout(DEADLINE, self.ended()).await {
            Ok(problem) => NetworkError::Helper { problem },
            Err(_) => late("it went silent"),
        }
    }

    fn spawn(
        program: &Utf8Path,
        request: &HelperRequest<'_>,
    ) -> io::Result<(Self, pipe::Receiver)> {
        let (ready_reader, ready) = io::pipe()?;
        let (exit_reader, exit) = io::pipe()?;
        let mut command = command(program);
        let ready = sys::inherit(&mut command, ready.into());
        let exits = sys::inherit(&mut command, exit_reader.into());
        command
            .args(arguments(request, ready, exits, geteuid().is_root()))
            .current_dir("/")
            .env_clear()
            .process_group(0)
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        sys::die_with_parent(&mut command);
        let mut child = command.spawn()?;
        let words = Arc::<Mutex<Vec<u8>>>::default();
        let mut listener = JoinSet::new();
        if let Some(errors) = child.stderr.take() {
            listener.spawn(listen(errors, words.clone()));
        }
        let helper = Self {
            child,
            words,
            _listener: listener,
            _exit: exit,
        };
        let ready_reader = OwnedFd::from(ready_reader);
        Ok((helper, pipe::Receiver::from_owned_fd(ready_reader)?))
    }
}

fn late(what: &str) -> NetworkError {
    NetworkError::Helper {
        problem: format!("{what} within {DEADLINE:?}"),
    }
}

/// Its command line; the numbers are those of pipes it inherits. To have no
/// files in reach it would have to be root in the VMM's namespaces, which only
/// root is there, too; what it may ask of the kernel is always bounded. Pure.
fn arguments(request: &HelperRequest<'_>, ready: i32, exits: i32, is_root: bool) -> Vec<String> {
    let vmm = request.vmm;
    let mut arguments = vec![
        format!("--cidr={NETWORK}/{PREFIX}"),
        "--mtu=1500".to_owned(),
        "--enable-seccomp".to_owned(),
        format!("--api-socket={}", socket_path(request.directory)),
        format!("--ready-fd={ready}"),
        format!("--exit-fd={exits}"),
    ];
    if request.in_user_namespace {
        arguments.push(format!("--userns-path=/proc/{vmm}/ns/user"));
    }
    arguments.extend(is_root.then(|| "--enable-sandbox".to_owned()));
    arguments.extend([vmm.to_string(), HELPER_TAP.to_owned()]);
    arguments
}

/// Waits for the helper's word that it carries the network.
async fn begun(mut ready: pipe::Receiver) -> io::Result<()> {
    ready.read_u8().await.map(drop)
}

/// Has a port of the host lead to the guest.
async fn lead(socket: &Utf8Path, port: &PublishedPort) -> io::Result<Answer> {
    let request = serde_json::json!({
        "execute": "add_hostfwd",
        "arguments": {
            "proto": port.protocol.as_str(),
            "host_addr": port.address,
            "host_port": port.host,
            "guest_addr": GUEST,
            "guest_port": port.guest,
        }
    });
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(request.to_string().as_bytes()).await?;
    stream.shutdown().await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_LIMIT).read_to_end(&mut answer).await?;
    serde_json::from_slice(&answer).map_err(io::Error::other)
}

async fn listen(mut errors: impl AsyncRead + Unpin, words: Arc<Mutex<Vec<u8>>>) {
    let mut buffer = vec![0; WORDS_LIMIT];
    while let Ok(count @ 1..) = errors.read(&mut buffer).await {
        let mut words = words.lock().unwrap_or_else(PoisonError::into_inner);
        words.extend_from_slice(&buffer[..count]);
        let excess = words.len().saturating_sub(WORDS_LIMIT);
        words.drain(..excess);
    }
}
