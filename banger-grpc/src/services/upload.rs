//! `UploadService`.
//!
//! Invariants: what comes goes to the disk at once, and no more than a few pieces of it
//! are held; what is told is never waited for, since the newest word says all; a stream
//! ends with its call, and what it brought stays.

use std::pin::Pin;

use banger_api::v1::{
    DeleteUploadRequest, DeleteUploadResponse, ErrorReason, WriteUploadRequest,
    WriteUploadResponse, WriteUploadWhole, upload_service_server::UploadService,
    write_upload_request::Piece as Sent, write_upload_response::Progress as Told,
};
use banger_core::domain::Digest;
use futures_util::{Stream, stream};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{JoinHandle, JoinSet, spawn_blocking},
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use super::first::first_message;
use crate::{
    backend::{Front, Hub},
    call::load::{Counted, Load},
    caller::Caller,
    fault::Fault,
    request::{
        Checks, caller,
        name::{UPLOADS, upload},
    },
    uploads::{Begun, Key, Piece, Taking},
};

/// Most bytes of one piece.
const MAX_PIECE: usize = 65_536;
/// Pieces that wait to be written.
const QUEUE: usize = 4;
/// Files that one caller sends at a time.
const MAX_STREAMS: u32 = 16;

/// Over the files of clients.
#[derive(Debug)]
pub(crate) struct UploadsOf {
    front: Front,
    load: Load,
}

/// A file that comes, and whose client is told how far.
struct Telling {
    /// What the upload is called.
    name: String,
    /// What was kept before this stream, until that is told.
    first: Option<u64>,
    kept: watch::Receiver<u64>,
    /// What is wrong with what the client sends.
    problem: oneshot::Receiver<Fault>,
    receiving: JoinHandle<Result<u64, Fault>>,
    /// Passes on what the client sends; it ends with this.
    _feeding: JoinSet<()>,
    _counted: Counted,
}

/// The upload that a request names, if it names one.
pub(super) fn given_upload(caller: &Caller, name: &str, checks: &mut Checks) -> Option<Key> {
    if name.is_empty() {
        return None;
    }
    let id = upload("upload", name, checks)?;
    Some(Key::new(caller.identity(), id))
}

/// How operations remember an upload, which is there: nobody reaches another's.
pub(super) fn settle_upload(hub: &Hub, upload: Option<Key>) -> Result<String, Fault> {
    let Some(key) = upload else {
        return Ok(String::new());
    };
    hub.backend.uploads.check(&key)?;
    Ok(key.text())
}

/// How long an upload is, which is there; nothing if there is none.
pub(super) fn upload_length(hub: &Hub, upload: Option<&Key>) -> Result<u64, Fault> {
    upload.map_or(Ok(0), |key| hub.backend.uploads.check(key))
}

type Answers = Pin<Box<dyn Stream<Item = Result<WriteUploadResponse, Status>> + Send>>;

impl UploadsOf {
    pub(crate) fn new(front: Front) -> Self {
        Self {
            front,
            load: Load::new(MAX_STREAMS),
        }
    }

    async fn write(
        &self,
        request: Request<Streaming<WriteUploadRequest>>,
    ) -> Result<Answers, Fault> {
        let hub = self.front.changing()?;
        let (caller, mut sent) = (caller(&request), request.into_inner());
        let counted = self.load.count(&caller)?;
        let id = start(&mut sent).await?;
        let (key, name) = (Key::new(caller.identity(), id), UPLOADS.name(id));
        let backend = &hub.backend;
        let begun = backend.uploads.begin(&key, backend.clock.now());
        let taking = match begun.await? {
            Begun::Whole(length) => {
                let whole = answer(whole(name, length));
                return Ok(Box::pin(stream::once(async { Ok(whole) })));
            }
            Begun::Coming(taking) => taking,
        };
        let telling = Telling::new(name, taking, sent, counted);
        let answers = stream::try_unfold(Some(telling), |telling| async {
            let Some(mut telling) = telling else {
                return Ok(None);
            };
            let told = telling.next().await?;
            let is_last = matches!(told, Told::Whole(_));
            Ok(Some((answer(told), (!is_last).then_some(telling))))
        });
        Ok(Box::pin(answers))
    }

    async fn delete(&self, request: Request<DeleteUploadRequest>) -> Result<(), Fault> {
        let hub = self.front.changing()?;
        let (caller, request) = (caller(&request), request.into_inner());
        let mut checks = Checks::default();
        let id = upload("name", &request.name, &mut checks);
        checks.finish()?;
        if let Some(id) = id {
            let key = Key::new(caller.identity(), id);
            hub.backend.uploads.remove(&key).await;
        }
        Ok(())
    }
}

const fn answer(told: Told) -> WriteUploadResponse {
    WriteUploadResponse {
        progress: Some(told),
    }
}

const fn whole(upload: String, size_bytes: u64) -> Told {
    Told::Whole(WriteUploadWhole { upload, size_bytes })
}

/// The id in the first message, checked.
async fn start(sent: &mut Streaming<WriteUploadRequest>) -> Result<Uuid, Fault> {
    let first = first_message(sent).await;
    let mut checks = Checks::default();
    let Some(Sent::Start(start)) = first.and_then(|first| first.piece) else {
        checks.violated("piece", "the first message is no start");
        checks.finish()?;
        return Err(Fault::invalid(Vec::new()));
    };
    let name = UPLOADS.name(start.upload_id);
    let id = upload("start.upload_id", &name, &mut checks);
    checks.finish()?;
    // it is there, or the checks had not finished
    id.ok_or_else(|| Fault::invalid(Vec::new()))
}

impl Telling {
    fn new(
        name: String,
        taking: Taking,
        sent: Streaming<WriteUploadRequest>,
        counted: Counted,
    ) -> Self {
        let (first, turn) = (taking.kept, taking.turn.clone());
        let (pieces, receiver) = mpsc::channel(QUEUE);
        let (newest, kept) = watch::channel(first);
        let receiving = spawn_blocking(move || taking.receive(receiver, &newest));
        let (complaint, problem) = oneshot::channel();
        let mut feeding = JoinSet::new();
        feeding.spawn(async move {
            if let Err(fault) = feed(sent, &pieces, &turn).await {
                // nobody may listen any more
                complaint.send(fault).ok();
            }
            // whoever writes hears only now that there is no more
            drop(pieces);
        });
        Self {
            name,
            first: Some(first),
            kept,
            problem,
            receiving,
            _feeding: feeding,
            _counted: counted,
        }
    }

    async fn next(&mut self) -> Result<Told, Fault> {
        if let Some(first) = self.first.take() {
            return Ok(Told::KeptBytes(first));
        }
        if self.kept.changed().await.is_ok() {
            return Ok(Told::KeptBytes(*self.kept.borrow_and_update()));
        }
        // nothing more is kept: it is over
        let received = (&mut self.receiving).await;
        if let Ok(fault) = self.problem.try_recv() {
            return Err(fault);
        }
        let broke = |_| Fault::new(ErrorReason::Internal, "the upload broke off");
        Ok(whole(self.name.clone(), received.map_err(broke)??))
    }
}

/// Passes on what the client sends, until another stream goes on with the upload. A
/// stream without an end is an error for whoever writes.
async fn feed(
    mut sent: Streaming<WriteUploadRequest>,
    pieces: &mpsc::Sender<Piece>,
    turn: &CancellationToken,
) -> Result<(), Fault> {
    loop {
        let message = tokio::select! {
            () = turn.cancelled() => {
                let message = "another stream goes on with the upload, or it was deleted";
                return Err(Fault::new(ErrorReason::UploadTakenOver, message));
            }
            message = sent.message() => message,
        };
        let Ok(Some(message)) = message else {
            return Ok(());
        };
        let piece = piece(message.piece)?;
        let is_end = matches!(piece, Piece::End(..));
        // whoever writes says why no more is taken
        if pieces.send(piece).await.is_err() || is_end {
            return Ok(());
        }
    }
}

fn piece(sent: Option<Sent>) -> Result<Piece, Fault> {
    let mut checks = Checks::default();
    let piece = match sent {
        Some(Sent::Data(data)) if data.len() <= MAX_PIECE => Some(Piece::Data(data)),
        Some(Sent::End(end)) => {
            let digest = checks.parse::<Digest>("end.digest", &end.digest);
            digest.map(|digest| Piece::End(end.size_bytes, digest))
        }
        Some(Sent::Data(_) | Sent::Start(_)) | None => {
            checks.violated("piece", "is empty, too long, or a second start");
            None
        }
    };
    checks.finish()?;
    // it is there, or the checks had not finished
    piece.ok_or_else(|| Fault::invalid(Vec::new()))
}

#[tonic::async_trait]
impl UploadService for UploadsOf {
    type WriteUploadStream = Answers;

    async fn write_upload(
        &self,
        request: Request<Streaming<WriteUploadRequest>>,
    ) -> Result<Response<Answers>, Status> {
        Ok(Response::new(self.write(request).await?))
    }

    async fn delete_upload(
        &self,
        request: Request<DeleteUploadRequest>,
    ) -> Result<Response<DeleteUploadResponse>, Status> {
        self.delete(request).await?;
        Ok(Response::new(DeleteUploadResponse {}))
    }
}
