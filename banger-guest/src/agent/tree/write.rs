//! A tree that comes from the client.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    time::Duration,
};

use banger_proto::guest::v1::{
    WriteTreeRequest, WriteTreeResponse, WriteTreeStart, write_tree_request::Request,
};
use banger_transfer::{
    Limits, Origin, Owners, Piece, PieceReader, TransferError, Unpacked, Unpacking, piece_channel,
    unpack,
};
use rustix::fs::{CWD, Mode, OFlags, openat};
use tokio::{sync::mpsc::Sender, task::JoinHandle, time::timeout};
use tokio_util::task::TaskTracker;
use tonic::Streaming;

use super::{FileError, checked};

/// How long a client may take to say where to.
const FIRST_MESSAGE_PATIENCE: Duration = Duration::from_secs(30);

type Work = JoinHandle<Result<Unpacked, TransferError>>;

/// Writes what the client sends. Dropping the future ends it.
pub(super) async fn write(
    mut requests: Streaming<WriteTreeRequest>,
    tasks: &TaskTracker,
) -> Result<WriteTreeResponse, FileError> {
    let start = first_message(&mut requests).await?;
    checked(&start.directory)?;
    let (sender, pieces) = piece_channel();
    let mut work: Work =
        tasks.spawn_blocking(move || unpack_into(&start, PieceReader::new(pieces)));
    let outcome = tokio::select! {
        // a failure ends the call while the client still sends
        outcome = &mut work => outcome,
        fed = feed(requests, sender) => {
            let outcome = work.await;
            fed?;
            outcome
        }
    };
    let unpacked = outcome.map_err(|_| FileError::Interrupted)??;
    Ok(WriteTreeResponse {
        entries: unpacked.entries,
        content_bytes: unpacked.content,
    })
}

async fn first_message(
    requests: &mut Streaming<WriteTreeRequest>,
) -> Result<WriteTreeStart, FileError> {
    match timeout(FIRST_MESSAGE_PATIENCE, requests.message()).await {
        Ok(Ok(Some(WriteTreeRequest {
            request: Some(Request::Start(start)),
        }))) => Ok(start),
        Ok(Ok(_)) => Err(FileError::Invalid("the first message is not `start`")),
        Ok(Err(_)) | Err(_) => Err(FileError::Abandoned),
    }
}

fn unpack_into(start: &WriteTreeStart, stream: PieceReader) -> Result<Unpacked, TransferError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = openat(CWD, start.directory.as_ref(), flags, Mode::empty());
    let directory: OwnedFd = opened.map_err(|errno| TransferError::File {
        action: "open the directory",
        path: start.directory.to_vec(),
        source: errno.into(),
    })?;
    let unpacking = Unpacking {
        owners: if start.keep_owners {
            Owners::Archive
        } else {
            Owners::Receiver
        },
        origin: Origin::Trusted,
        limits: Limits::default(),
    };
    unpack(stream, directory.as_fd(), unpacking)
}

/// Passes pieces on until the stream is whole; an error when it never is. A
/// closed queue means that the work has ended by itself, and says how.
async fn feed(
    mut requests: Streaming<WriteTreeRequest>,
    pieces: Sender<Piece>,
) -> Result<(), FileError> {
    loop {
        let piece = match requests.message().await {
            Ok(Some(WriteTreeRequest { request })) => match request {
                Some(Request::Data(data)) => Piece::Data(data),
                Some(Request::Finish(_)) => Piece::End,
                Some(Request::Start(_)) | None => {
                    return Err(FileError::Invalid("a message out of order"));
                }
            },
            Ok(None) | Err(_) => return Err(FileError::Abandoned),
        };
        let last = piece == Piece::End;
        if pieces.send(piece).await.is_err() || last {
            return Ok(());
        }
    }
}
