//! `FileService`.
//!
//! Invariants: a tree goes over in pieces that are passed on as they come; no more
//! than a few are ever held.

use std::pin::Pin;

use banger_api::v1::{
    FileKind, ReadFilesEnd, ReadFilesRequest, ReadFilesResponse, StatFileRequest, StatFileResponse,
    WriteFilesRequest, WriteFilesResponse, WriteFilesStart, file_service_server::FileService,
    read_files_response::Piece as Told, write_files_request::Piece as Sent,
};
use banger_core::{
    domain::{Selector, Vm},
    vm::{GuestFileKind, ReadTree, StreamPiece, TreeEvent, TreeStream, WriteTree},
};
use futures_util::{Stream, stream};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};

use super::{first::first_message, vm};
use crate::{
    backend::{Front, Hub},
    caller::Caller,
    fault::Fault,
    request::{Checks, caller, name::VMS},
};

/// Most bytes of one piece.
const MAX_PIECE: usize = 65_536;
/// Longest path (PATH_MAX).
const MAX_PATH: usize = 4096;
/// Pieces that wait to be written.
const QUEUE: usize = 4;

/// Over the core's machines.
#[derive(Debug)]
pub(crate) struct Files(pub(crate) Front);

fn check_path(field: &str, path: &[u8], checks: &mut Checks) {
    if !path.starts_with(b"/") || path.contains(&0) || MAX_PATH < path.len() {
        let problem = format!("is no absolute path of at most {MAX_PATH} bytes");
        checks.violated(field, problem);
    }
}

async fn machine(hub: &Hub, caller: &Caller, name: &str) -> Result<Selector, Fault> {
    let id = name.strip_prefix("vms/").unwrap_or_default();
    let Vm { id, .. } = vm::find(hub, caller, id).await?;
    Ok(Selector::from(id.to_string().as_str()))
}

impl Files {
    async fn stat(&self, request: Request<StatFileRequest>) -> Result<StatFileResponse, Fault> {
        let hub = self.0.reading()?;
        let (caller, request) = (caller(&request), request.into_inner());
        let mut checks = Checks::default();
        VMS.id("vm", &request.vm, &mut checks);
        check_path("path", &request.path, &mut checks);
        checks.finish()?;
        let vm = machine(hub, &caller, &request.vm).await?;
        let looking = hub
            .backend
            .vms
            .stat_path(&vm, &request.path, request.follow_link);
        let file = looking.await?;
        let kind = match file.kind {
            GuestFileKind::Regular => FileKind::Regular,
            GuestFileKind::Directory => FileKind::Directory,
            GuestFileKind::Symlink => FileKind::Symlink,
            GuestFileKind::Special => FileKind::Special,
            _ => FileKind::Unspecified,
        };
        Ok(StatFileResponse {
            kind: kind.into(),
            mode: file.mode,
            size_bytes: file.size,
            resolved_path: file.resolved.into(),
        })
    }

    async fn read(&self, request: Request<ReadFilesRequest>) -> Result<TreeStream, Fault> {
        let hub = self.0.reading()?;
        let (caller, request) = (caller(&request), request.into_inner());
        let mut checks = Checks::default();
        VMS.id("vm", &request.vm, &mut checks);
        check_path("path", &request.path, &mut checks);
        checks.finish()?;
        let vm = machine(hub, &caller, &request.vm).await?;
        let wanted = ReadTree {
            path: request.path.into(),
            archived_as: (!request.archived_as.is_empty()).then(|| request.archived_as.into()),
        };
        Ok(hub.backend.vms.read_tree(&vm, wanted).await?)
    }

    async fn write(
        &self,
        request: Request<Streaming<WriteFilesRequest>>,
    ) -> Result<WriteFilesResponse, Fault> {
        let (hub, _acting) = self.0.acting()?;
        let (caller, mut sent) = (caller(&request), request.into_inner());
        let start = start(&mut sent).await?;
        let vm = machine(hub, &caller, &start.vm).await?;
        let wanted = WriteTree {
            directory: start.directory.into(),
            keep_owners: start.keep_owners,
        };
        let (pieces, tar) = mpsc::channel(QUEUE);
        let writing = hub.backend.vms.write_tree(&vm, wanted, tar);
        tokio::pin!(writing);
        let copied = tokio::select! {
            written = &mut writing => written?,
            passed = pass_on(sent, pieces) => {
                passed?;
                writing.await?
            }
        };
        Ok(WriteFilesResponse {
            entries: copied.entries,
            content_bytes: copied.content_bytes,
        })
    }
}

/// The first message, checked.
async fn start(sent: &mut Streaming<WriteFilesRequest>) -> Result<WriteFilesStart, Fault> {
    let first = first_message(sent).await;
    let mut checks = Checks::default();
    let Some(Sent::Start(start)) = first.and_then(|first| first.piece) else {
        checks.violated("piece", "the first message is no start");
        checks.finish()?;
        return Err(Fault::invalid(Vec::new()));
    };
    VMS.id("start.vm", &start.vm, &mut checks);
    check_path("start.directory", &start.directory, &mut checks);
    checks.finish()?;
    Ok(start)
}

/// Passes on what the client sends; a stream without an end is dropped, and so is an
/// error for whoever writes it.
async fn pass_on(
    mut sent: Streaming<WriteFilesRequest>,
    pieces: mpsc::Sender<StreamPiece>,
) -> Result<(), Fault> {
    loop {
        let Ok(Some(message)) = sent.message().await else {
            return Ok(());
        };
        let piece = match message.piece {
            Some(Sent::Data(data)) if data.len() <= MAX_PIECE => StreamPiece::Data(data),
            Some(Sent::End(_)) => StreamPiece::End,
            Some(Sent::Data(_) | Sent::Start(_)) | None => {
                let mut checks = Checks::default();
                checks.violated("piece", "is empty, too long, or a second start");
                return checks.finish();
            }
        };
        let is_end = matches!(piece, StreamPiece::End);
        // whoever writes says why no more is taken
        if pieces.send(piece).await.is_err() || is_end {
            return Ok(());
        }
    }
}

fn told(event: TreeEvent) -> ReadFilesResponse {
    let piece = match event {
        TreeEvent::Data(data) => Told::Data(data),
        TreeEvent::End(read) => Told::End(ReadFilesEnd {
            entries: read.copied.entries,
            content_bytes: read.copied.content_bytes,
            sockets_left_out: read.sockets_left_out,
            mounts_left_out: read.mounts_left_out,
        }),
    };
    ReadFilesResponse { piece: Some(piece) }
}

type Reading = Pin<Box<dyn Stream<Item = Result<ReadFilesResponse, Status>> + Send>>;

#[tonic::async_trait]
impl FileService for Files {
    async fn stat_file(
        &self,
        request: Request<StatFileRequest>,
    ) -> Result<Response<StatFileResponse>, Status> {
        Ok(Response::new(self.stat(request).await?))
    }

    type ReadFilesStream = Reading;

    async fn read_files(
        &self,
        request: Request<ReadFilesRequest>,
    ) -> Result<Response<Reading>, Status> {
        let tree = self.read(request).await?;
        let reading = stream::try_unfold(tree, |mut tree| async {
            let event = tree.events.recv().await.transpose().map_err(Fault::from)?;
            Ok(event.map(|event| (told(event), tree)))
        });
        Ok(Response::new(Box::pin(reading)))
    }

    async fn write_files(
        &self,
        request: Request<Streaming<WriteFilesRequest>>,
    ) -> Result<Response<WriteFilesResponse>, Status> {
        Ok(Response::new(self.write(request).await?))
    }
}
