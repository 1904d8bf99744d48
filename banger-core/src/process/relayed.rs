//! A child whose words are handed on as it says them.
//!
//! Invariants: it leads a process group, which does not outlive the call; what
//! nobody takes yet holds it up. Entry points: [`run_relayed`].

use std::{process::Stdio, time::Duration};

use bytes::{Bytes, BytesMut};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::{Child, Command},
    sync::mpsc,
};

use super::{ChildError, Collected};

/// Bytes handed on at once, and kept of the end of what was handed on.
const CHUNK: usize = 64 << 10;

/// Runs a command to its end in a process group of its own and hands on what it
/// says on both streams as it says it. Reading waits while nobody takes it.
/// When the deadline passes or the future is dropped, the whole group is killed.
pub async fn run_relayed(
    mut command: Command,
    deadline: Duration,
    output: mpsc::Sender<Bytes>,
) -> Result<(), ChildError> {
    let program = command.as_std().get_program().to_string_lossy();
    let program = program.into_owned();
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

#[cfg(test)]
mod tests {
    use super::{super::command, *};
    use crate::ErrorKind;

    fn shell(script: &str) -> Command {
        let mut shell = command("sh");
        shell.args(["-c", script]);
        shell
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
