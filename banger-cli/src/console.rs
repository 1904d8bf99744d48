//! banger's own three standard streams.
//!
//! Purpose: bytes in and out, exactly. Invariants: what is written is flushed
//! before the call answers; two writers never mix within one call.
//! Entry points: [`Console`].

use std::{
    fmt, io,
    os::fd::{AsFd as _, OwnedFd},
};

use tokio::{
    io::{AsyncWrite, AsyncWriteExt as _},
    sync::Mutex,
};

use crate::error::CliError;

type Output = Mutex<Box<dyn AsyncWrite + Send + Unpin>>;

/// The three standard streams.
pub struct Console {
    stdin: OwnedFd,
    stdout: Output,
    stderr: Output,
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console")
            .field("stdin", &self.stdin)
            .finish_non_exhaustive()
    }
}

impl Console {
    /// The process's own streams.
    pub fn of_process() -> io::Result<Self> {
        let stdin = io::stdin().as_fd().try_clone_to_owned()?;
        Ok(Self::new(stdin, tokio::io::stdout(), tokio::io::stderr()))
    }

    /// Any streams.
    pub fn new(
        stdin: OwnedFd,
        stdout: impl AsyncWrite + Send + Unpin + 'static,
        stderr: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Self {
        Self {
            stdin,
            stdout: Mutex::new(Box::new(stdout)),
            stderr: Mutex::new(Box::new(stderr)),
        }
    }

    /// Standard input.
    pub const fn stdin(&self) -> &OwnedFd {
        &self.stdin
    }

    /// Writes to standard output. Cancelling may leave a part written.
    pub async fn write_stdout(&self, bytes: &[u8]) -> Result<(), CliError> {
        write(&self.stdout, bytes, "standard output").await
    }

    /// Writes to standard error. Cancelling may leave a part written.
    pub async fn write_stderr(&self, bytes: &[u8]) -> Result<(), CliError> {
        write(&self.stderr, bytes, "standard error").await
    }
}

async fn write(output: &Output, bytes: &[u8], stream: &'static str) -> Result<(), CliError> {
    let mut output = output.lock().await;
    let written = async {
        output.write_all(bytes).await?;
        output.flush().await
    };
    written
        .await
        .map_err(|source| CliError::Output { stream, source })
}
