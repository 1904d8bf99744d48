//! Child processes.
//!
//! Purpose: the one place where children are made. Invariants: a child reads
//! nothing unless asked to, is killed when its handle is dropped, has its
//! output drained into a bounded buffer, and is given a deadline.
//! Entry points: [`command`], [`run`], `exchange`.

use std::{ffi::OsStr, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStdin, Command},
};

use crate::error::ErrorKind;

/// Most output kept of each stream of a child.
const OUTPUT_LIMIT: usize = 1 << 20;

/// A child program failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChildError {
    /// It could not be started.
    #[error("failed to start {program}")]
    Spawn {
        /// The program.
        program: String,
        /// The cause.
        source: std::io::Error,
    },
    /// It ran and failed.
    #[error("{program} ended with {status}: {tail}")]
    Failed {
        /// The program.
        program: String,
        /// Its exit status or signal, in words.
        status: String,
        /// The end of its standard error, on one line.
        tail: String,
    },
    /// It ran for too long and was killed.
    #[error("{program} did not end within {deadline:?}")]
    TimedOut {
        /// The program.
        program: String,
        /// What it was given.
        deadline: Duration,
    },
}

impl ChildError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Spawn { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                ErrorKind::Unsupported
            }
            Self::Spawn { source, .. } => ErrorKind::of_io(source),
            Self::Failed { .. } => ErrorKind::Internal,
            Self::TimedOut { .. } => ErrorKind::Timeout,
        }
    }
}

/// A command whose child reads nothing and dies with its handle.
#[must_use]
pub fn command(program: impl AsRef<OsStr>) -> Command {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where children are made"
    )]
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Runs a command to its end and answers its standard output (at most 1 MiB).
/// Dropping the future kills the child.
pub async fn run(mut command: Command, deadline: Duration) -> Result<Vec<u8>, ChildError> {
    let program = command
        .as_std()
        .get_program()
        .to_string_lossy()
        .into_owned();
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().map_err(|source| ChildError::Spawn {
        program: program.clone(),
        source,
    })?;
    match tokio::time::timeout(deadline, collect(child)).await {
        Ok(Ok(output)) => output.into_success(program),
        Ok(Err(source)) => Err(ChildError::Spawn { program, source }),
        Err(_) => Err(ChildError::TimedOut { program, deadline }),
    }
}

/// What a child said to its end, whether it failed or not.
pub(crate) struct Exchange {
    pub(crate) success: bool,
    /// Exit status or signal, in words.
    pub(crate) status: String,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

/// Runs a command that reads `input` to its end. Dropping the future kills the
/// child.
pub(crate) async fn exchange(
    mut command: Command,
    input: &[u8],
    deadline: Duration,
) -> Result<Exchange, ChildError> {
    let program = command.as_std().get_program().to_string_lossy();
    let program = program.into_owned();
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let spawned = pipes.stderr(Stdio::piped()).spawn();
    let exchanged = async {
        let mut child = spawned?;
        let stdin = child.stdin.take();
        let ((), collected) = tokio::join!(feed(stdin, input), collect(child));
        collected
    };
    match tokio::time::timeout(deadline, exchanged).await {
        Ok(Ok(Collected {
            status,
            stdout,
            stderr,
        })) => Ok(Exchange {
            success: status.success(),
            status: status.to_string(),
            stdout,
            stderr,
        }),
        Ok(Err(source)) => Err(ChildError::Spawn { program, source }),
        Err(_) => Err(ChildError::TimedOut { program, deadline }),
    }
}

/// A child need not read what it is given.
async fn feed(stdin: Option<ChildStdin>, input: &[u8]) {
    if let Some(mut stdin) = stdin {
        drop(stdin.write_all(input).await);
        drop(stdin.shutdown().await);
    }
}

struct Collected {
    status: std::process::ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Collected {
    fn into_success(self, program: String) -> Result<Vec<u8>, ChildError> {
        if self.status.success() {
            return Ok(self.stdout);
        }
        let tail = last_lines(&self.stderr);
        Err(ChildError::Failed {
            program,
            status: self.status.to_string(),
            tail,
        })
    }
}

async fn collect(mut child: Child) -> std::io::Result<Collected> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (status, stdout, stderr) = tokio::join!(child.wait(), drain(stdout), drain(stderr));
    Ok(Collected {
        status: status?,
        stdout: stdout?,
        stderr: stderr?,
    })
}

/// Reads a stream to its end and keeps the last [`OUTPUT_LIMIT`] bytes.
async fn drain(stream: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    let Some(mut stream) = stream else {
        return Ok(kept);
    };
    while stream.read_buf(&mut kept).await? != 0 {
        let excess = kept.len().saturating_sub(OUTPUT_LIMIT);
        kept.drain(..excess);
    }
    Ok(kept)
}

/// The last three lines of a child's output as one line.
#[must_use]
pub fn last_lines(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    lines[lines.len().saturating_sub(3)..].join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut shell = command("sh");
        shell.args(["-c", script]);
        shell
    }

    #[tokio::test]
    async fn output_failure_and_deadline_are_told_apart() {
        let deadline = Duration::from_secs(30);
        assert_eq!(run(shell("echo out"), deadline).await.unwrap(), b"out\n");
        let failed = run(shell("echo why >&2; exit 3"), deadline)
            .await
            .unwrap_err();
        assert_eq!(failed.to_string(), "sh ended with exit status: 3: why");
        let slow = run(shell("exec sleep 600"), Duration::from_millis(50))
            .await
            .unwrap_err();
        assert_eq!(slow.kind(), ErrorKind::Timeout);
        let missing = run(command("/nowhere/program"), deadline)
            .await
            .unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::Unsupported);
    }
}
