//! Console logs of a server's machines.

use banger_api::v1::ReadVmLogRequest;
use banger_core::{
    domain::Vm,
    vm::{LogStream, LogsError, LogsRequest},
};
use tokio::sync::mpsc;
use tonic::Streaming;

use super::{Server, errors::FromServer as _};
use crate::Failure;

/// Pieces that may wait.
const QUEUE: usize = 2;

impl Server {
    pub(super) async fn logs(&self, vm: &Vm, request: LogsRequest) -> Result<LogStream, Failure> {
        let read = ReadVmLogRequest {
            name: format!("vms/{}", vm.id),
            // more lines than that are all
            tail_lines: request
                .tail
                .map_or(0, |lines| u32::try_from(lines).unwrap_or(u32::MAX)),
            since: request.since.map(Into::into),
            follow: request.follow,
        };
        let (sender, chunks) = mpsc::channel(QUEUE);
        if request.tail == Some(0) && !request.follow {
            return Ok(LogStream { chunks });
        }
        let opened = self.read(|| {
            let (read, mut vms) = (read.clone(), self.client.vms());
            async move { vms.read_vm_log(read).await }
        });
        drop(self.tasks.spawn(pass_on(opened.await?, sender)));
        Ok(LogStream { chunks })
    }
}

async fn pass_on(
    mut pieces: Streaming<banger_api::v1::ReadVmLogResponse>,
    sender: mpsc::Sender<Result<bytes::Bytes, LogsError>>,
) {
    loop {
        let piece = tokio::select! {
            piece = pieces.message() => piece,
            () = sender.closed() => return,
        };
        let piece = match piece {
            Ok(None) => return,
            Ok(Some(piece)) => Ok(piece.data),
            Err(status) => Err(LogsError::from_server(Failure::from(status))),
        };
        let is_last = piece.is_err();
        if sender.send(piece).await.is_err() || is_last {
            return;
        }
    }
}
