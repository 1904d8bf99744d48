//! QEMU's control channel (QMP; QEMU manual, "QEMU Machine Protocol
//! Specification"), as far as banger needs it.
//!
//! Invariants: QEMU says nothing but its greeting before the first command, so
//! an unused channel never fills; every line is bounded. Entry points:
//! [`Control::press_power_button`].

use std::io;

use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
};

/// Longest line that is read.
const LINE_LIMIT: u64 = 64 * 1024;

/// Our end of the channel.
#[derive(Debug)]
pub(in crate::vmm) struct Control {
    stream: BufReader<UnixStream>,
    ready: bool,
}

/// A line of QEMU's: an answer, or an event or greeting, which have neither.
#[derive(Debug, Deserialize)]
struct Message {
    #[serde(rename = "return")]
    returned: Option<serde_json::Value>,
    error: Option<Refusal>,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    desc: String,
}

impl Control {
    pub(in crate::vmm) fn new(stream: UnixStream) -> Self {
        Self {
            stream: BufReader::new(stream),
            ready: false,
        }
    }

    /// Presses the machine's power button: an ACPI event for its guest. Waits
    /// for QEMU's answer for as long as it takes; not to be used again when
    /// that was given up.
    pub(in crate::vmm) async fn press_power_button(&mut self) -> io::Result<()> {
        if !self.ready {
            self.execute("qmp_capabilities").await?;
            self.ready = true;
        }
        self.execute("system_powerdown").await
    }

    async fn execute(&mut self, command: &str) -> io::Result<()> {
        let line = format!("{{\"execute\":\"{command}\"}}\n");
        self.stream.write_all(line.as_bytes()).await?;
        loop {
            let message = self.message().await?;
            if let Some(refusal) = message.error {
                return Err(io::Error::other(refusal.desc));
            }
            if message.returned.is_some() {
                return Ok(());
            }
        }
    }

    async fn message(&mut self) -> io::Result<Message> {
        let mut line = Vec::new();
        let mut limited = (&mut self.stream).take(LINE_LIMIT);
        if limited.read_until(b'\n', &mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        serde_json::from_slice(&line).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What QEMU 7.2 says, and what it is told.
    #[tokio::test]
    async fn answers_are_told_from_greetings_and_events() {
        let cases = [
            (
                "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n{\"return\": {}}\r\n\
                 {\"event\": \"POWERDOWN\", \"timestamp\": {}}\r\n{\"return\": {}}\r\n",
                Ok(()),
            ),
            (
                "{\"QMP\": {}}\n{\"error\": {\"class\": \"GenericError\", \"desc\": \"no button\"}}\n",
                Err("no button"),
            ),
            ("{\"QMP\": {}}\n", Err("unexpected end of file")),
            ("what\n", Err("expected value at line 1 column 1")),
        ];
        for (said, expected) in cases {
            let (ours, mut qemus) = UnixStream::pair().unwrap();
            qemus.write_all(said.as_bytes()).await.unwrap();
            qemus.shutdown().await.unwrap();
            let pressed = Control::new(ours).press_power_button().await;
            let pressed = pressed.map_err(|error| error.to_string());
            assert_eq!(pressed, expected.map_err(str::to_owned), "{said}");
            let mut told = String::new();
            qemus.read_to_string(&mut told).await.unwrap();
            assert!(
                told.starts_with("{\"execute\":\"qmp_capabilities\"}\n"),
                "{told}"
            );
            assert_eq!(
                told.contains("system_powerdown"),
                expected.is_ok(),
                "{told}"
            );
        }
    }

    #[tokio::test]
    async fn a_line_without_an_end_is_refused() {
        let (ours, mut qemus) = UnixStream::pair().unwrap();
        let endless = async { while qemus.write_all(&[b'x'; 4096]).await.is_ok() {} };
        let pressing = async { Control::new(ours).press_power_button().await };
        let (pressed, ()) = tokio::join!(pressing, endless);
        pressed.unwrap_err();
    }
}
