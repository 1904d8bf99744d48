//! Console logs of a server's machines.
//!
//! Invariants: a stream that breaks goes on after the last piece, so that no byte comes
//! twice; what is missing then is told with the piece after it; where the place is not
//! known, the stream fails.

use std::time::Duration;

use banger_api::v1::{ReadVmLogRequest, ReadVmLogResponse};
use banger_core::{
    domain::Vm,
    vm::{LogChunk, LogStream, LogsError, LogsRequest},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};
use tonic::Streaming;

use super::{Server, errors::FromServer as _};
use crate::Failure;

/// Pieces that may wait.
const QUEUE: usize = 2;
/// The pause before a stream is opened again that brought nothing.
const PAUSE: Duration = Duration::from_millis(200);

type Chunks = mpsc::Sender<Result<LogChunk, LogsError>>;

/// A log that is read, and how far it was.
struct Reading {
    server: Server,
    /// What is asked for when the stream breaks; none when that is not known.
    again: Option<ReadVmLogRequest>,
}

impl Server {
    pub(super) async fn logs(&self, vm: &Vm, request: LogsRequest) -> Result<LogStream, Failure> {
        let after = request.after.map(|position| position.to_string());
        let read = ReadVmLogRequest {
            name: format!("vms/{}", vm.id),
            // more lines than that are all
            tail_lines: request
                .tail
                .map_or(0, |lines| u32::try_from(lines).unwrap_or(u32::MAX)),
            since: request.since.map(Into::into),
            follow: request.follow,
            after: after.unwrap_or_default(),
        };
        let (sender, chunks) = mpsc::channel(QUEUE);
        if request.tail == Some(0) && !request.follow {
            return Ok(LogStream { chunks });
        }
        let opened = self.open_log(&read, self.client.deadline()).await?;
        let reading = Reading {
            server: self.clone(),
            again: Some(read),
        };
        drop(self.tasks.spawn(async move {
            tokio::select! {
                () = reading.run(opened, &sender) => {}
                () = sender.closed() => {}
            }
        }));
        Ok(LogStream { chunks })
    }

    async fn open_log(
        &self,
        read: &ReadVmLogRequest,
        deadline: Instant,
    ) -> Result<Streaming<ReadVmLogResponse>, Failure> {
        let opened = crate::retry::until(deadline, || {
            let (read, mut vms) = (read.clone(), self.client.vms());
            async move { vms.read_vm_log(read).await }
        });
        Ok(opened.await?.into_inner())
    }
}

impl Reading {
    async fn run(mut self, mut pieces: Streaming<ReadVmLogResponse>, chunks: &Chunks) {
        let mut deadline = self.server.client.deadline();
        loop {
            let (broken, brought) = match self.pass_on(pieces, chunks).await {
                Ok(()) => return,
                Err(broken) => broken,
            };
            if brought {
                deadline = self.server.client.deadline();
            } else {
                sleep(PAUSE).await;
            }
            let again = self.again.as_ref().filter(|_| broken.is_retryable());
            let opened = match again {
                None => Err(broken),
                Some(_) if deadline < Instant::now() => Err(Failure::out_of_time(Some(broken))),
                Some(again) => self.server.open_log(again, deadline).await,
            };
            pieces = match opened {
                Ok(pieces) => pieces,
                Err(failure) => {
                    // nobody may listen any more
                    drop(chunks.send(Err(LogsError::from_server(failure))).await);
                    return;
                }
            };
        }
    }

    /// Passes pieces on to the log's end, or until the stream breaks: why, and whether
    /// it had brought any.
    async fn pass_on(
        &mut self,
        mut pieces: Streaming<ReadVmLogResponse>,
        chunks: &Chunks,
    ) -> Result<(), (Failure, bool)> {
        let mut brought = false;
        loop {
            let piece = match pieces.message().await {
                Ok(None) => return Ok(()),
                Ok(Some(piece)) => piece,
                Err(status) => return Err((Failure::from(status), brought)),
            };
            brought = true;
            self.note(&piece.position);
            let chunk = LogChunk {
                bytes: piece.data,
                end: piece.position.parse().ok(),
                gap: piece.gap,
            };
            if chunks.send(Ok(chunk)).await.is_err() {
                return Ok(());
            }
        }
    }

    /// Everything before that place was passed on.
    fn note(&mut self, position: &str) {
        let again = self.again.take().filter(|_| !position.is_empty());
        self.again = again.map(|again| ReadVmLogRequest {
            after: position.to_owned(),
            ..again
        });
    }
}
