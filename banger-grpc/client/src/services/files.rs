//! Files of a server's machines.
//!
//! Invariants: a tree that is read goes on where its stream was cut, with the bytes that
//! it would have had, or fails. One that is written fails when its stream is cut:
//! whoever has what is written begins again, which does no harm.

use banger_api::v1::{
    FileKind, ReadFilesRequest, ReadFilesResponse, StatFileRequest, WriteFilesEnd,
    WriteFilesRequest, WriteFilesStart, read_files_response::Piece as Read,
    write_files_request::Piece as Write,
};
use banger_core::{
    ErrorKind,
    remote::RemoteError,
    vm::{
        Copied, CopyError, GuestFile, GuestFileKind, ReadTree, StreamPiece, TreeEvent, TreeRead,
        TreeStream, WriteTree,
    },
};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status, Streaming};

use super::{
    Server,
    cut::{Reading, pass_on},
    errors::FromServer as _,
};
use crate::{Client, Failure};

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

    pub(super) fn read_tree(&self, vm: String, request: ReadTree) -> TreeStream {
        let tree = Tree::new(ReadFilesRequest {
            vm,
            path: request.path.into(),
            archived_as: request.archived_as.unwrap_or_default().into(),
        });
        let (sender, events) = mpsc::channel(QUEUE);
        let server = self.clone();
        drop(self.tasks.spawn(async move {
            if let Err(error) = pass_on(server, tree, sender.clone()).await {
                // nobody may listen any more
                drop(sender.send(Err(error)).await);
            }
        }));
        TreeStream { events }
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
        // a server that says no does not wait for what there is still to come
        let both = async {
            tokio::pin!(writing);
            tokio::select! {
                written = &mut writing => written,
                () = feeding => writing.await,
            }
        };
        let written = tokio::select! {
            // what the server says first counts, also when nobody takes pieces any more
            biased;
            written = both => written,
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

/// A tree that is read as often as it takes.
///
/// A tar stream of the guest's files is made anew by each reading, and nobody keeps one:
/// what was passed on before the stream was cut is read again, and must be the same.
struct Tree {
    request: ReadFilesRequest,
    /// Of all that was passed on.
    passed: Sha256,
    length: u64,
    /// What is read again.
    again: Option<Again>,
    /// The end was passed on.
    over: bool,
}

/// The beginning of a stream, as it is read once more.
struct Again {
    read: Sha256,
    left: u64,
}

impl Tree {
    fn new(request: ReadFilesRequest) -> Self {
        Self {
            request,
            passed: Sha256::new(),
            length: 0,
            again: None,
            over: false,
        }
    }

    /// What of a piece was not passed on before.
    fn new_of(&mut self, mut piece: Bytes) -> Result<Bytes, CopyError> {
        let Some(again) = &mut self.again else {
            return Ok(piece);
        };
        let known = usize::try_from(again.left).unwrap_or(usize::MAX);
        let known = piece.split_to(known.min(piece.len()));
        again.read.update(&known);
        again.left -= known.len() as u64;
        if again.left == 0 {
            if again.read.clone().finalize() != self.passed.clone().finalize() {
                return Err(self.changed());
            }
            self.again = None;
        }
        Ok(piece)
    }

    fn changed(&self) -> CopyError {
        let vm = &self.request.vm;
        let words = format!("files of {vm} changed while they were read over a broken connection");
        CopyError::Remote(RemoteError::new(ErrorKind::Conflict, words, Vec::new()))
    }
}

impl Reading for Tree {
    type Answer = ReadFilesResponse;
    type Piece = Result<TreeEvent, CopyError>;
    type Error = CopyError;

    async fn open(&self, client: &Client) -> Result<Response<Streaming<Self::Answer>>, Status> {
        client.files().read_files(self.request.clone()).await
    }

    fn take(&mut self, answer: ReadFilesResponse) -> Result<Vec<Self::Piece>, CopyError> {
        match answer.piece {
            Some(Read::Data(piece)) => {
                let piece = self.new_of(piece)?;
                if piece.is_empty() {
                    return Ok(Vec::new());
                }
                self.passed.update(&piece);
                self.length += piece.len() as u64;
                Ok(vec![Ok(TreeEvent::Data(piece))])
            }
            Some(Read::End(_)) if self.again.is_some() => Err(self.changed()),
            Some(Read::End(end)) => {
                self.over = true;
                Ok(vec![Ok(TreeEvent::End(TreeRead {
                    copied: Copied {
                        entries: end.entries,
                        content_bytes: end.content_bytes,
                    },
                    sockets_left_out: end.sockets_left_out,
                    mounts_left_out: end.mounts_left_out,
                }))])
            }
            None => Ok(Vec::new()),
        }
    }

    fn cut(&mut self) {
        self.again = (self.length != 0).then(|| Again {
            read: Sha256::new(),
            left: self.length,
        });
    }

    fn is_over(&self) -> Option<bool> {
        Some(self.over)
    }
}

#[cfg(test)]
mod tests {
    use banger_api::v1::ReadFilesEnd;

    use super::*;

    fn data(text: &'static str) -> ReadFilesResponse {
        let piece = Some(Read::Data(Bytes::from_static(text.as_bytes())));
        ReadFilesResponse { piece }
    }

    fn end() -> ReadFilesResponse {
        let piece = Some(Read::End(ReadFilesEnd::default()));
        ReadFilesResponse { piece }
    }

    /// What is passed on of an answer.
    fn passed(tree: &mut Tree, answer: ReadFilesResponse) -> Result<String, ErrorKind> {
        let taken = tree.take(answer).map_err(|error| error.kind())?;
        let texts = taken.into_iter().map(|event| match event.unwrap() {
            TreeEvent::Data(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
            TreeEvent::End(_) => "END".to_owned(),
        });
        Ok(texts.collect())
    }

    fn begun() -> Tree {
        let mut tree = Tree::new(ReadFilesRequest::default());
        // nothing was passed on yet
        tree.cut();
        assert_eq!(passed(&mut tree, data("abc")), Ok("abc".to_owned()));
        assert_eq!(passed(&mut tree, data("de")), Ok("de".to_owned()));
        tree.cut();
        tree
    }

    #[test]
    fn what_was_passed_on_is_not_passed_on_again() {
        let mut tree = begun();
        // the pieces need not be the same
        assert_eq!(passed(&mut tree, data("a")), Ok(String::new()));
        tree.cut();
        assert_eq!(passed(&mut tree, data("ab")), Ok(String::new()));
        assert_eq!(passed(&mut tree, data("cdefg")), Ok("fg".to_owned()));
        assert_eq!(tree.is_over(), Some(false));
        tree.cut();
        assert_eq!(passed(&mut tree, data("abcdefg")), Ok(String::new()));
        assert_eq!(passed(&mut tree, end()), Ok("END".to_owned()));
        assert_eq!(tree.is_over(), Some(true));
    }

    #[test]
    fn what_changed_meanwhile_is_told_before_anything_is_passed_on() {
        let conflict = Err(ErrorKind::Conflict);
        assert_eq!(passed(&mut begun(), data("abXdefg")), conflict);
        // and so is a stream that became shorter
        let mut tree = begun();
        assert_eq!(passed(&mut tree, data("abcd")), Ok(String::new()));
        assert_eq!(passed(&mut tree, end()), conflict);
    }
}
