//! Child processes.
//!
//! Purpose: the one place where children are made. Invariants: a child reads
//! nothing unless asked to, is killed when its handle is dropped, has its
//! output drained into a bounded buffer, and is given a deadline.
//! Entry points: [`command`], [`run`], [`run_relayed`].

use std::{ffi::OsStr, process::Stdio, time::Duration};

use bytes::{Bytes, BytesMut};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::{Child, Command},
    sync::mpsc,
};

use crate::error::ErrorKind;

/// Most output kept of each stream of a child.
const OUTPUT_LIMIT: usize = 1 << 20;
/// Bytes handed on at once, and kept of the end of what was handed on.
const CHUNK: usize = 64 << 10;

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
pub async fn run(command: Command, deadline: Duration) -> Result<Vec<u8>, ChildError> {
    run_accepting(command, &[0], deadline).await
}

/// The same of a program that says with further exit statuses that all is well.
pub async fn run_accepting(
    mut command: Command,
    accepted: &[i32],
    deadline: Duration,
) -> Result<Vec<u8>, ChildError> {
    let program = program_name(&command);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().map_err(|source| ChildError::Spawn {
        program: program.clone(),
        source,
    })?;
    match tokio::time::timeout(deadline, collect(child)).await {
        Ok(Ok(output)) => output.into_success(program, accepted),
        Ok(Err(source)) => Err(ChildError::Spawn { program, source }),
        Err(_) => Err(ChildError::TimedOut { program, deadline }),
    }
}

/// Runs a command to its end in a process group of its own and hands on what it
/// says on both streams as it says it. Reading waits while nobody takes it.
/// When the deadline passes or the future is dropped, the whole group is killed.
pub async fn run_relayed(
    mut command: Command,
    deadline: Duration,
    output: mpsc::Sender<Bytes>,
) -> Result<(), ChildError> {
    let program = program_name(&command);
    command
        .process_group(0)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn().map_err(|source| ChildError::Spawn {
        program: program.clone(),
        source,
    })?;
    let leader = Leader {
        group: child.id().and_then(group_id),
        child,
    };
    match tokio::time::timeout(deadline, relay(leader, &output)).await {
        Ok(Ok(collected)) => collected.into_success(program, &[0]).map(drop),
        Ok(Err(source)) => Err(ChildError::Spawn { program, source }),
        Err(_) => Err(ChildError::TimedOut { program, deadline }),
    }
}

/// A child that leads a process group, which is killed when this is dropped.
struct Leader {
    child: Child,
    /// None once the child was waited for: the number may be another's then.
    group: Option<Pid>,
}

impl Drop for Leader {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            // it may have ended a moment ago
            let _ended = kill_process_group(group, Signal::KILL);
        }
    }
}

fn group_id(leader: u32) -> Option<Pid> {
    Pid::from_raw(leader.try_into().ok()?)
}

async fn relay(mut leader: Leader, output: &mpsc::Sender<Bytes>) -> std::io::Result<Collected> {
    let child = &mut leader.child;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (stdout, stderr) = tokio::join!(pass_on(stdout, output), pass_on(stderr, output));
    let status = child.wait().await?;
    leader.group = None;
    Ok(Collected {
        status,
        stdout: stdout?,
        stderr: stderr?,
    })
}

/// Hands a stream on and keeps its end.
async fn pass_on(
    stream: Option<impl AsyncRead + Unpin>,
    output: &mpsc::Sender<Bytes>,
) -> std::io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    let Some(mut stream) = stream else {
        return Ok(kept);
    };
    loop {
        let mut chunk = BytesMut::with_capacity(CHUNK);
        if stream.read_buf(&mut chunk).await? == 0 {
            return Ok(kept);
        }
        kept.extend_from_slice(&chunk);
        let excess = kept.len().saturating_sub(CHUNK);
        kept.drain(..excess);
        // nobody may listen any more
        drop(output.send(chunk.freeze()).await);
    }
}

fn program_name(command: &Command) -> String {
    let program = command.as_std().get_program();
    program.to_string_lossy().into_owned()
}

struct Collected {
    status: std::process::ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Collected {
    fn into_success(self, program: String, accepted: &[i32]) -> Result<Vec<u8>, ChildError> {
        if self
            .status
            .code()
            .is_some_and(|code| accepted.contains(&code))
        {
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

    async fn relayed(script: &str, deadline: Duration) -> (Result<(), ChildError>, String) {
        let (sender, mut output) = mpsc::channel::<Bytes>(1);
        let said = async {
            let mut said = Vec::new();
            while let Some(bytes) = output.recv().await {
                said.extend_from_slice(&bytes);
            }
            String::from_utf8(said).unwrap()
        };
        tokio::join!(run_relayed(shell(script), deadline, sender), said)
    }

    #[tokio::test]
    async fn what_a_child_says_is_handed_on_and_quoted_when_it_fails() {
        let deadline = Duration::from_secs(30);
        let (ended, said) = relayed("echo out; echo why >&2; exit 3", deadline).await;
        assert!(said.contains("out\n") && said.contains("why\n"), "{said}");
        let failed = ended.unwrap_err().to_string();
        assert_eq!(failed, "sh ended with exit status: 3: why");
        let (ended, said) = relayed("head -c 300000 /dev/zero", deadline).await;
        ended.unwrap();
        assert_eq!(said.len(), 300_000);
    }

    #[tokio::test]
    async fn a_child_that_is_late_takes_its_children_along() {
        let script = "sleep 600 & echo $!; wait";
        let (ended, said) = relayed(script, Duration::from_millis(500)).await;
        assert_eq!(ended.unwrap_err().kind(), ErrorKind::Timeout);
        let status = format!("/proc/{}/status", said.trim());
        let is_gone = || match std::fs::read_to_string(&status) {
            Ok(status) => status.contains("State:\tZ"),
            Err(_) => true,
        };
        while !is_gone() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
