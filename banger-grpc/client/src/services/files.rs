//! Files of a server's machines.

use banger_api::v1::{
    self, FileKind, ReadFilesRequest, StatFileRequest, WriteFilesEnd, WriteFilesRequest,
    WriteFilesStart, read_files_response::Piece as Read, write_files_request::Piece as Write,
};
use banger_core::vm::{
    Copied, CopyError, GuestFile, GuestFileKind, ReadTree, StreamPiece, TreeEvent, TreeRead,
    TreeStream, WriteTree,
};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::{Server, errors::FromServer as _};
use crate::Failure;

/// Pieces that may wait.
const QUEUE: usize = 2;
/// Most bytes of one piece.
const PIECE: usize = 65_536;

impl Server {
    pub(super) async fn stat(
        &self,
        vm: String,
        path: &[u8],
        follow_link: bool,
    ) -> Result<GuestFile, Failure> {
        let stat = StatFileRequest {
            vm,
            path: Bytes::copy_from_slice(path),
            follow_link,
        };
        let found = self.read(|| {
            let (stat, mut files) = (stat.clone(), self.client.files());
            async move { files.stat_file(stat).await }
        });
        let found = found.await?;
        Ok(GuestFile {
            kind: match found.kind() {
                FileKind::Regular => GuestFileKind::Regular,
                FileKind::Directory => GuestFileKind::Directory,
                FileKind::Symlink => GuestFileKind::Symlink,
                FileKind::Special => GuestFileKind::Special,
                FileKind::Unspecified => {
                    return Err(Failure::confused(&stat.vm, "a file has no known kind"));
                }
            },
            mode: found.mode,
            size: found.size_bytes,
            resolved: found.resolved_path.into(),
        })
    }

    pub(super) async fn read_tree(
        &self,
        vm: String,
        request: ReadTree,
    ) -> Result<TreeStream, Failure> {
        let read = ReadFilesRequest {
            vm,
            path: request.path.into(),
            archived_as: request.archived_as.unwrap_or_default().into(),
        };
        let opened = self.read(|| {
            let (read, mut files) = (read.clone(), self.client.files());
            async move { files.read_files(read).await }
        });
        let (sender, events) = mpsc::channel(QUEUE);
        drop(self.tasks.spawn(pass_on(opened.await?, sender)));
        Ok(TreeStream { events })
    }

    pub(super) async fn write_tree(
        &self,
        vm: String,
        request: WriteTree,
        tar: mpsc::Receiver<StreamPiece>,
    ) -> Result<Copied, CopyError> {
        let (sender, pieces) = mpsc::channel(QUEUE);
        let start = WriteFilesStart {
            vm,
            directory: request.directory.into(),
            keep_owners: request.keep_owners,
        };
        let (abandon, abandoned) = oneshot::channel();
        let mut files = self.client.files();
        let writing = files.write_files(ReceiverStream::new(pieces));
        let feeding = async {
            if feed(start, tar, &sender).await.is_err() {
                abandon.send(()).ok();
            }
            drop(sender);
        };
        let written = tokio::select! {
            // what the server says first counts, also when nobody takes pieces any more
            biased;
            (written, ()) = async { tokio::join!(writing, feeding) } => written,
            Ok(()) = abandoned => return Err(CopyError::Abandoned),
        };
        match written {
            Ok(written) => {
                let written = written.into_inner();
                Ok(Copied {
                    entries: written.entries,
                    content_bytes: written.content_bytes,
                })
            }
            Err(status) => Err(CopyError::from_server(Failure::from(status))),
        }
    }
}

/// The stream was given up before its end.
struct Abandoned;

async fn feed(
    start: WriteFilesStart,
    mut tar: mpsc::Receiver<StreamPiece>,
    sender: &mpsc::Sender<WriteFilesRequest>,
) -> Result<(), Abandoned> {
    let message = |piece| WriteFilesRequest { piece: Some(piece) };
    // a server that takes no more says why
    if sender.send(message(Write::Start(start))).await.is_err() {
        return Ok(());
    }
    loop {
        match tar.recv().await {
            Some(StreamPiece::Data(mut bytes)) => {
                while !bytes.is_empty() {
                    let piece = bytes.split_to(bytes.len().min(PIECE));
                    if sender.send(message(Write::Data(piece))).await.is_err() {
                        return Ok(());
                    }
                }
            }
            Some(StreamPiece::End) => {
                drop(sender.send(message(Write::End(WriteFilesEnd {}))).await);
                return Ok(());
            }
            None => return Err(Abandoned),
        }
    }
}

async fn pass_on(
    mut pieces: Streaming<v1::ReadFilesResponse>,
    sender: mpsc::Sender<Result<TreeEvent, CopyError>>,
) {
    loop {
        let piece = tokio::select! {
            piece = pieces.message() => piece,
            () = sender.closed() => return,
        };
        let event = match piece.map_err(Failure::from) {
            Ok(Some(piece)) => match piece.piece {
                Some(Read::Data(bytes)) => Ok(TreeEvent::Data(bytes)),
                Some(Read::End(end)) => Ok(TreeEvent::End(TreeRead {
                    copied: Copied {
                        entries: end.entries,
                        content_bytes: end.content_bytes,
                    },
                    sockets_left_out: end.sockets_left_out,
                    mounts_left_out: end.mounts_left_out,
                })),
                None => continue,
            },
            Ok(None) => Err(CopyError::from_server(Failure::cut())),
            Err(failure) => Err(CopyError::from_server(failure)),
        };
        let is_last = !matches!(event, Ok(TreeEvent::Data(_)));
        if sender.send(event).await.is_err() || is_last {
            return;
        }
    }
}
