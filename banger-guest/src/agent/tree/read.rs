//! A tree on its way to the client.

use std::{ffi::OsString, os::unix::ffi::OsStringExt as _, path::PathBuf};

use banger_proto::guest::v1::{
    ReadTreeRequest, ReadTreeResponse, TreeRead, read_tree_response::Response,
};
use banger_transfer::{
    Limits, Mounts, Packed, Packing, Piece, PieceWriter, TransferError, pack, piece_channel,
};
use tokio::{
    sync::mpsc::{self, Receiver, Sender},
    task::JoinHandle,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::TaskTracker;
use tonic::Status;

use super::{FileError, checked};

/// What a call answers with.
pub(super) type Responses = ReceiverStream<Result<ReadTreeResponse, Status>>;

/// Responses that may wait.
const QUEUE: usize = 2;

/// Starts to read. Dropping the responses ends it.
pub(super) fn begin(request: ReadTreeRequest, tasks: &TaskTracker) -> Result<Responses, FileError> {
    checked(&request.path)?;
    let (sender, pieces) = piece_channel();
    let packing = tasks.spawn_blocking(move || read(request, PieceWriter::new(sender)));
    let (responses, receiver) = mpsc::channel(QUEUE);
    tasks.spawn(relay(pieces, packing, responses));
    Ok(ReceiverStream::new(receiver))
}

fn read(request: ReadTreeRequest, mut output: PieceWriter) -> Result<Packed, TransferError> {
    let packing = Packing {
        path: &PathBuf::from(OsString::from_vec(request.path.into())),
        archived_as: request.archived_as.as_deref(),
        mounts: Mounts::LeaveOut,
        limits: Limits::default(),
    };
    let packed = pack(&packing, &mut output)?;
    output.finish().map_err(TransferError::Stream)?;
    Ok(packed)
}

/// Passes pieces on, then how it ended.
async fn relay(
    mut pieces: Receiver<Piece>,
    packing: JoinHandle<Result<Packed, TransferError>>,
    responses: Sender<Result<ReadTreeResponse, Status>>,
) {
    while let Some(Piece::Data(data)) = pieces.recv().await {
        let response = Some(Response::Data(data));
        // without a client the reader's next piece fails
        if responses
            .send(Ok(ReadTreeResponse { response }))
            .await
            .is_err()
        {
            return;
        }
    }
    let last = match packing.await {
        Ok(Ok(packed)) => Ok(done(&packed)),
        Ok(Err(error)) => Err(FileError::from(error).into()),
        Err(_) => Err(FileError::Interrupted.into()),
    };
    drop(responses.send(last).await);
}

const fn done(packed: &Packed) -> ReadTreeResponse {
    ReadTreeResponse {
        response: Some(Response::Done(TreeRead {
            entries: packed.entries,
            content_bytes: packed.content,
            sockets_left_out: packed.sockets_left_out,
            mounts_left_out: packed.mounts_left_out,
        })),
    }
}
