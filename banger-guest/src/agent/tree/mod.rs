//! The machine's files, read and written for the host.
//!
//! Purpose: the methods of `FilesService`. Invariants: files are read and
//! written on blocking threads, with bounded queues in between; a call that is
//! given up ends its thread at its next read or write; a tree is only reported
//! as written when its stream was whole.
//! Entry point: [`Files`].

mod failure;
mod look;
mod read;
mod write;

use banger_proto::guest::v1::{
    ReadTreeRequest, StatPathRequest, StatPathResponse, WriteTreeRequest, WriteTreeResponse,
    files_service_server::FilesService,
};
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};

use failure::FileError;

/// Longest path that a request names (limits.h of Linux).
const MAX_PATH: usize = 4096;

/// The service.
#[derive(Clone, Debug)]
pub(super) struct Files {
    tasks: TaskTracker,
}

impl Files {
    pub(super) const fn new(tasks: TaskTracker) -> Self {
        Self { tasks }
    }
}

#[tonic::async_trait]
impl FilesService for Files {
    type ReadTreeStream = read::Responses;

    async fn stat_path(
        &self,
        request: Request<StatPathRequest>,
    ) -> Result<Response<StatPathResponse>, Status> {
        let request = request.into_inner();
        let looked = self.tasks.spawn_blocking(move || look::look(&request));
        let answer = looked.await.map_err(|_| FileError::Interrupted)?;
        Ok(Response::new(answer?))
    }

    async fn read_tree(
        &self,
        request: Request<ReadTreeRequest>,
    ) -> Result<Response<Self::ReadTreeStream>, Status> {
        let responses = read::begin(request.into_inner(), &self.tasks)?;
        Ok(Response::new(responses))
    }

    async fn write_tree(
        &self,
        request: Request<Streaming<WriteTreeRequest>>,
    ) -> Result<Response<WriteTreeResponse>, Status> {
        let written = write::write(request.into_inner(), &self.tasks).await?;
        Ok(Response::new(written))
    }
}

/// A path as the system takes it.
fn checked(path: &[u8]) -> Result<&[u8], FileError> {
    if !path.starts_with(b"/") {
        return Err(FileError::Invalid("a path of the guest is absolute"));
    }
    if path.contains(&0) {
        return Err(FileError::Invalid("a path has no zero byte"));
    }
    if MAX_PATH < path.len() {
        return Err(FileError::TooLong { limit: MAX_PATH });
    }
    Ok(path)
}
