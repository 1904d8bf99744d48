//! A connection to Firecracker's API (HTTP/1.1, RFC 9112).
//!
//! Invariants: requests may be sent before earlier ones were answered (section
//! 9.3.2), and are answered in their order; every answer is bounded and has a
//! deadline; a fault keeps Firecracker's words. A connection that failed, or
//! was given up on, is of no further use. Entry points: [`Message`],
//! [`Connection`].

use std::io;

use http::{Method, StatusCode};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

use super::{
    super::{
        super::{
            BackendError,
            error::{broken, within},
        },
        api::{Effort, Fault, Request, VersionAnswer},
    },
    answer::Answer,
    deadline,
};

/// Most characters of a fault that are kept.
pub(super) const FAULT_LIMIT: usize = 1024;
/// Bytes read at once.
const CHUNK: usize = 4096;

/// A request as it is sent.
#[derive(Debug)]
pub(in crate::vmm::firecracker) struct Message {
    /// As the API's description names it.
    name: String,
    effort: Effort,
    bytes: Vec<u8>,
}

impl Message {
    pub(in crate::vmm::firecracker) fn of<R: Request>(request: &R) -> Result<Self, BackendError> {
        let path = request.path();
        let body = serde_json::to_string(request).map_err(io::Error::other);
        let body = body.map_err(broken(&format!("{} {path}", R::METHOD)))?;
        Ok(Self::new(&R::METHOD, &path, R::EFFORT, &body))
    }

    /// Asks for the version.
    pub(in crate::vmm::firecracker) fn version() -> Self {
        Self::new(&Method::GET, "/version", Effort::Little, "")
    }

    fn new(method: &Method, path: &str, effort: Effort, body: &str) -> Self {
        let length = body.len();
        let bytes = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        Self {
            name: format!("{method} {path}"),
            effort,
            bytes: bytes.into_bytes(),
        }
    }
}

/// A connection for any number of requests.
#[derive(Debug)]
pub(in crate::vmm::firecracker) struct Connection {
    stream: UnixStream,
    /// What is not taken as an answer yet.
    received: Vec<u8>,
}

impl Connection {
    pub(super) const fn on(stream: UnixStream) -> Self {
        Self {
            stream,
            received: Vec::new(),
        }
    }

    /// Sends requests, all at once.
    pub(in crate::vmm::firecracker) async fn send(
        &mut self,
        messages: &[&Message],
    ) -> Result<(), BackendError> {
        let Some(first) = messages.first() else {
            return Ok(());
        };
        let bytes: Vec<&[u8]> = messages.iter().map(|message| &*message.bytes).collect();
        let bytes = bytes.concat();
        let sending = async {
            let sent = self.stream.write_all(&bytes).await;
            sent.map_err(broken(&first.name))
        };
        within(deadline(Effort::Little), &first.name, sending).await
    }

    /// Waits for the answer to the first request that has none, which was this
    /// one: success, with what it says.
    pub(in crate::vmm::firecracker) async fn answer(
        &mut self,
        message: &Message,
    ) -> Result<Vec<u8>, BackendError> {
        let name = &message.name;
        let answering = async { self.next().await.map_err(broken(name)) };
        let answer = within(deadline(message.effort), name, answering).await?;
        if answer.status.is_success() {
            return Ok(answer.body);
        }
        Err(BackendError::Refused {
            request: name.clone(),
            fault: fault(answer.status, &answer.body),
        })
    }

    /// Sends one request, which must be answered by success.
    pub(in crate::vmm::firecracker) async fn ask(
        &mut self,
        message: &Message,
    ) -> Result<Vec<u8>, BackendError> {
        self.send(&[message]).await?;
        self.answer(message).await
    }

    async fn next(&mut self) -> io::Result<Answer> {
        loop {
            if let Some((answer, length)) = Answer::parse(&self.received).map_err(invalid)? {
                self.received.drain(..length);
                return Ok(answer);
            }
            self.received.reserve(CHUNK);
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// The version in the answer to [`Message::version`].
pub(in crate::vmm::firecracker) fn version_in(body: &[u8]) -> Result<String, BackendError> {
    let answer: VersionAnswer = serde_json::from_slice(body)
        .map_err(io::Error::other)
        .map_err(broken("GET /version"))?;
    Ok(answer.firecracker_version)
}

fn invalid(problem: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

/// What Firecracker says is wrong, on one line.
fn fault(status: StatusCode, answer: &[u8]) -> String {
    let words = match serde_json::from_slice(answer) {
        Ok(Fault { fault_message }) => fault_message,
        Err(_) => format!("it answered {status}"),
    };
    let line = words.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(FAULT_LIMIT).collect()
}
