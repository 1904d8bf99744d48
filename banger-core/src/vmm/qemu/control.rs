//! QEMU's control channel (QMP; QEMU manual, "QEMU Machine Protocol
//! Specification"), as far as banger needs it.
//!
//! Invariants: QEMU says nothing but its greeting before the first command, and
//! afterwards a few events a second at most, so a channel nobody reads does not
//! fill; every line is bounded; an answer is known by its number, so that one
//! nobody waited for is not taken for another's. Entry points:
//! [`Control::execute`], [`Control::hand_over`].

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::fd::BorrowedFd,
};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Interest},
    net::UnixStream,
};

use super::super::{BackendError, error::broken};

/// Longest line that is read.
const LINE_LIMIT: usize = 64 * 1024;

/// Our end of the channel.
#[derive(Debug)]
pub(super) struct Control {
    stream: BufReader<UnixStream>,
    /// What is there of the next line.
    line: Vec<u8>,
    /// The number of the last command.
    last: u64,
    is_ready: bool,
    /// A command was begun and not written to its end.
    is_torn: bool,
}

#[derive(Debug, Serialize)]
struct Command<'a> {
    execute: &'a str,
    arguments: &'a Value,
    id: u64,
}

/// A line of QEMU's: an answer, or an event or greeting, which have no number.
#[derive(Debug, Deserialize)]
struct Message {
    id: Option<u64>,
    #[serde(rename = "return")]
    returned: Option<Value>,
    error: Option<Refusal>,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    desc: String,
}

impl Control {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self {
            stream: BufReader::new(stream),
            line: Vec::new(),
            last: 0,
            is_ready: false,
            is_torn: false,
        }
    }

    /// Has QEMU execute a command and answers what it returns, waiting for as
    /// long as it takes. Giving up leaves the channel fit for another command.
    pub(super) async fn execute(
        &mut self,
        command: &str,
        arguments: &Value,
    ) -> Result<Value, BackendError> {
        self.introduce().await?;
        self.ask(command, arguments, None).await
    }

    /// The same with a descriptor that goes along with the command.
    pub(super) async fn hand_over(
        &mut self,
        command: &str,
        arguments: &Value,
        descriptor: BorrowedFd<'_>,
    ) -> Result<(), BackendError> {
        self.introduce().await?;
        let asked = self.ask(command, arguments, Some(descriptor));
        asked.await.map(drop)
    }

    async fn introduce(&mut self) -> Result<(), BackendError> {
        if !self.is_ready {
            let nothing = Value::Object(serde_json::Map::new());
            self.ask("qmp_capabilities", &nothing, None).await?;
            self.is_ready = true;
        }
        Ok(())
    }

    async fn ask(
        &mut self,
        command: &str,
        arguments: &Value,
        descriptor: Option<BorrowedFd<'_>>,
    ) -> Result<Value, BackendError> {
        self.last += 1;
        let id = self.last;
        let command_line = Command {
            execute: command,
            arguments,
            id,
        };
        let exchanged = async {
            let mut line = serde_json::to_vec(&command_line).map_err(io::Error::other)?;
            line.push(b'\n');
            self.send(&line, descriptor).await?;
            self.answer(id).await
        };
        let message = exchanged.await.map_err(broken(command))?;
        match message {
            Message {
                error: Some(refusal),
                ..
            } => Err(BackendError::Refused {
                request: command.to_owned(),
                fault: refusal.desc,
            }),
            Message { returned, .. } => Ok(returned.unwrap_or_default()),
        }
    }

    async fn send(&mut self, line: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        if self.is_torn {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.is_torn = true;
        let sent = match descriptor {
            Some(descriptor) => send_with(self.stream.get_ref(), line, descriptor).await?,
            None => 0,
        };
        let rest = line.get(sent..).unwrap_or_default();
        self.stream.write_all(rest).await?;
        self.is_torn = false;
        Ok(())
    }

    /// The answer to a command, past events and answers to earlier ones.
    async fn answer(&mut self, id: u64) -> io::Result<Message> {
        loop {
            let message = self.message().await?;
            // a line that QEMU could not read is answered without a number
            if message.id == Some(id) || (message.id.is_none() && message.error.is_some()) {
                return Ok(message);
            }
        }
    }

    async fn message(&mut self) -> io::Result<Message> {
        while self.line.last() != Some(&b'\n') {
            let room = LINE_LIMIT.saturating_sub(self.line.len());
            let mut limited = (&mut self.stream).take(room as u64);
            if limited.read_until(b'\n', &mut self.line).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let message = serde_json::from_slice(&self.line).map_err(io::Error::other);
        self.line.clear();
        message
    }
}

/// Sends the beginning of a line, and a descriptor with it.
async fn send_with(
    stream: &UnixStream,
    line: &[u8],
    descriptor: BorrowedFd<'_>,
) -> io::Result<usize> {
    let send = || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let descriptors = [descriptor];
        if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let flags = SendFlags::NOSIGNAL;
        Ok(sendmsg(
            stream,
            &[IoSlice::new(line)],
            &mut ancillary,
            flags,
        )?)
    };
    stream.async_io(Interest::WRITABLE, send).await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What QEMU 7.2 says, and what it is told.
    #[tokio::test]
    async fn answers_are_told_from_greetings_events_and_late_answers() {
        let cases = [
            (
                "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n{\"return\": {}, \"id\": 1}\r\n\
                 {\"event\": \"POWERDOWN\", \"timestamp\": {}}\r\n{\"return\": 6, \"id\": 0}\r\n\
                 {\"return\": 7, \"id\": 2}\r\n",
                Ok(json!(7)),
            ),
            (
                "{\"QMP\": {}}\n{\"id\": 1, \"error\": {\"class\": \"GenericError\", \"desc\": \"no button\"}}\n",
                Err("the VMM refused qmp_capabilities: no button"),
            ),
            (
                "{\"QMP\": {}}\n",
                Err(
                    "the VMM's answer to qmp_capabilities could not be had: unexpected end of file",
                ),
            ),
            (
                "what\n",
                Err(
                    "the VMM's answer to qmp_capabilities could not be had: expected value at line 1 column 1",
                ),
            ),
        ];
        for (said, expected) in cases {
            let (ours, mut qemus) = UnixStream::pair().unwrap();
            qemus.write_all(said.as_bytes()).await.unwrap();
            qemus.shutdown().await.unwrap();
            let mut control = Control::new(ours);
            let answered = control.execute("system_powerdown", &json!({})).await;
            let answered = answered.map_err(|error| crate::vm::in_words(&error));
            assert_eq!(answered, expected.map_err(str::to_owned), "{said}");
            drop(control);
            let mut told = String::new();
            qemus.read_to_string(&mut told).await.unwrap();
            let introduction = "{\"execute\":\"qmp_capabilities\",\"arguments\":{},\"id\":1}\n";
            assert!(told.starts_with(introduction), "{told}");
        }
    }

    #[tokio::test]
    async fn a_command_that_was_given_up_on_leaves_the_channel_usable() {
        let (ours, mut qemus) = UnixStream::pair().unwrap();
        let mut control = Control::new(ours);
        let half = b"{\"return\": {}, \"id\": 1}\n{\"return\": 1,";
        qemus.write_all(half).await.unwrap();
        let nothing = json!({});
        let patience = std::time::Duration::from_millis(50);
        let asked = tokio::time::timeout(patience, control.execute("stop", &nothing)).await;
        assert!(asked.is_err());
        let rest = b" \"id\": 2}\n{\"return\": 2, \"id\": 3}\n";
        qemus.write_all(rest).await.unwrap();
        assert_eq!(control.execute("cont", &nothing).await.unwrap(), json!(2));
    }

    #[tokio::test]
    async fn a_line_without_an_end_is_refused() {
        let (ours, mut qemus) = UnixStream::pair().unwrap();
        let endless = async { while qemus.write_all(&[b'x'; 4096]).await.is_ok() {} };
        let asking = async {
            let mut control = Control::new(ours);
            control.execute("stop", &json!({})).await
        };
        let (asked, ()) = tokio::join!(asking, endless);
        asked.unwrap_err();
    }
}
