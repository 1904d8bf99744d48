//! Calls through the monitor to the agent's `FilesService`.
//!
//! Invariants: every queue is bounded; a stream is only whole when its end was
//! said; giving a call up ends it in the guest.

use std::time::Duration;

use banger_proto::{
    FILE_FAILURE_METADATA, MAX_STREAM_CHUNK,
    guest::v1::{
        self as wire, files_service_client::FilesServiceClient, read_tree_response,
        write_tree_request,
    },
};
use banger_transfer::Piece;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::{CopyError, FileFailure};
use crate::{
    domain::{Selector, VmName, VmState},
    vm::{
        Copied, GuestFile, GuestFileKind, ReadTree, TreeEvent, TreeRead, TreeStream, WriteTree,
        http2::{Http2Client, origin},
        in_words,
        monitor_call::reach,
        supervisor::Host,
    },
};

/// Messages that may wait.
const QUEUE: usize = 4;
/// How long a question about one path may take: the guest may be slow and busy.
const DEADLINE: Duration = Duration::from_mins(1);
/// Most bytes of one message from the guest.
const MESSAGE_LIMIT: usize = 1 << 20;

type Client = FilesServiceClient<Http2Client>;

/// What a path of a guest is.
pub(in crate::vm) async fn stat_path(
    host: &Host,
    selector: &Selector,
    path: &[u8],
    follow_link: bool,
) -> Result<GuestFile, CopyError> {
    let (call, mut client) = Call::of(host, selector).await?;
    let request = wire::StatPathRequest {
        path: path.to_vec().into(),
        follow_link,
    };
    let answered = timeout(DEADLINE, client.stat_path(request)).await;
    let answered = answered.map_err(|_| call.broken("it did not answer in time"))?;
    let found = answered.map_err(|status| call.error(&status))?.into_inner();
    let kind = match found.kind() {
        wire::FileKind::Regular => GuestFileKind::Regular,
        wire::FileKind::Directory => GuestFileKind::Directory,
        wire::FileKind::Symlink => GuestFileKind::Symlink,
        wire::FileKind::Special => GuestFileKind::Special,
        wire::FileKind::Unspecified => return Err(call.broken("it told no kind of file")),
    };
    Ok(GuestFile {
        kind,
        mode: found.mode,
        size: found.size,
        resolved: found.resolved_path.into(),
    })
}

/// Reads a tree of a guest.
pub(in crate::vm) async fn read_tree(
    host: &Host,
    selector: &Selector,
    request: ReadTree,
) -> Result<TreeStream, CopyError> {
    let (call, mut client) = Call::of(host, selector).await?;
    let request = wire::ReadTreeRequest {
        path: request.path.into(),
        archived_as: request.archived_as.map(Into::into),
    };
    let answered = client.read_tree(request).await;
    let responses = answered.map_err(|status| call.error(&status))?.into_inner();
    let (sender, events) = mpsc::channel(QUEUE);
    drop(host.tasks.spawn(async move {
        tokio::select! {
            () = sender.closed() => {}
            () = call.relay(responses, &sender) => {}
        }
    }));
    Ok(TreeStream { events })
}

/// Writes a tree in a guest.
pub(in crate::vm) async fn write_tree(
    host: &Host,
    selector: &Selector,
    request: WriteTree,
    pieces: mpsc::Receiver<Piece>,
) -> Result<Copied, CopyError> {
    let (call, mut client) = Call::of(host, selector).await?;
    let start = wire::WriteTreeStart {
        directory: request.directory.into(),
        keep_owners: request.keep_owners,
    };
    let (requests, outgoing) = mpsc::channel(QUEUE);
    let feeding = async {
        feed(start, pieces, requests).await;
        // the call's answer ends this
        std::future::pending().await
    };
    let answered = tokio::select! {
        answered = client.write_tree(ReceiverStream::new(outgoing)) => answered,
        answered = feeding => answered,
    };
    match answered {
        Ok(written) => {
            let written = written.into_inner();
            Ok(Copied {
                entries: written.entries,
                content_bytes: written.content_bytes,
            })
        }
        Err(status) => match call.error(&status) {
            CopyError::Guest {
                failure: FileFailure::Abandoned,
                ..
            } => Err(CopyError::Abandoned),
            error => Err(error),
        },
    }
}

/// Sends pieces until the end. A stream without one ends without `finish`.
async fn feed(
    start: wire::WriteTreeStart,
    mut pieces: mpsc::Receiver<Piece>,
    requests: mpsc::Sender<wire::WriteTreeRequest>,
) {
    use write_tree_request::Request;
    let send = async |request| {
        let request = Some(request);
        requests
            .send(wire::WriteTreeRequest { request })
            .await
            .is_ok()
    };
    // a closed queue means that the call has ended
    let mut open = send(Request::Start(start)).await;
    while open && let Some(piece) = pieces.recv().await {
        match piece {
            Piece::End => {
                send(Request::Finish(wire::TreeFinished {})).await;
                return;
            }
            Piece::Data(bytes) => {
                for chunk in bytes.chunks(MAX_STREAM_CHUNK) {
                    open = open && send(Request::Data(bytes.slice_ref(chunk))).await;
                }
            }
        }
    }
}

/// A name for the errors of one call.
#[derive(Debug)]
struct Call {
    name: VmName,
}

impl Call {
    async fn of(host: &Host, selector: &Selector) -> Result<(Self, Client), CopyError> {
        let vm = host.find(selector).await?;
        if vm.state != VmState::Running {
            return Err(CopyError::NotRunning {
                name: vm.name,
                state: vm.state,
            });
        }
        if !vm.spec.boot_mode.has_agent() {
            return Err(CopyError::NoAgent { name: vm.name });
        }
        let call = Self { name: vm.name };
        let client = reach(&host.files(vm.id).socket(), &host.tasks).await;
        let client = client.map_err(|error| call.lost(in_words(&error)))?;
        let client = FilesServiceClient::with_origin(client, origin());
        Ok((call, client.max_decoding_message_size(MESSAGE_LIMIT)))
    }

    /// Passes a tree on until its end or an error, or until nobody listens.
    async fn relay(
        &self,
        mut responses: Streaming<wire::ReadTreeResponse>,
        events: &mpsc::Sender<Result<TreeEvent, CopyError>>,
    ) {
        loop {
            let event = match responses.message().await {
                Ok(Some(response)) => self.event(response),
                Ok(None) => Err(self.lost("the stream ended before it was whole".to_owned())),
                Err(status) => Err(self.error(&status)),
            };
            let last = !matches!(event, Ok(TreeEvent::Data(_)));
            if events.send(event).await.is_err() || last {
                return;
            }
        }
    }

    fn event(&self, response: wire::ReadTreeResponse) -> Result<TreeEvent, CopyError> {
        use read_tree_response::Response;
        match response.response {
            Some(Response::Data(bytes)) => Ok(TreeEvent::Data(bytes)),
            Some(Response::Done(done)) => Ok(TreeEvent::End(TreeRead {
                copied: Copied {
                    entries: done.entries,
                    content_bytes: done.content_bytes,
                },
                sockets_left_out: done.sockets_left_out,
                mounts_left_out: done.mounts_left_out,
            })),
            None => Err(self.broken("it sent a message without content")),
        }
    }

    /// What a failed call means.
    fn error(&self, status: &Status) -> CopyError {
        if let Some(failure) = file_failure(status) {
            return CopyError::Guest {
                name: self.name.clone(),
                failure,
                message: status.message().to_owned(),
            };
        }
        // a status with a cause was made on this side, of a broken connection
        let broken = std::error::Error::source(status).is_some();
        match status.code() {
            Code::Unimplemented => CopyError::AgentTooOld {
                name: self.name.clone(),
            },
            Code::Unavailable | Code::Cancelled => self.lost(status.message().to_owned()),
            _ if broken => self.lost(in_words(status)),
            _ => self.broken(status.message()),
        }
    }

    fn lost(&self, problem: String) -> CopyError {
        CopyError::VmLost {
            name: self.name.clone(),
            problem,
        }
    }

    fn broken(&self, problem: &str) -> CopyError {
        CopyError::Agent {
            name: self.name.clone(),
            problem: problem.to_owned(),
        }
    }
}

fn file_failure(status: &Status) -> Option<FileFailure> {
    use wire::FileFailure as Wire;
    let value = status.metadata().get(FILE_FAILURE_METADATA)?;
    let number: i32 = value.to_str().ok()?.parse().ok()?;
    match Wire::try_from(number).ok()? {
        Wire::Unspecified => None,
        Wire::NotFound => Some(FileFailure::NotFound),
        Wire::NotADirectory => Some(FileFailure::NotADirectory),
        Wire::IsADirectory => Some(FileFailure::IsADirectory),
        Wire::PermissionDenied => Some(FileFailure::PermissionDenied),
        Wire::NoSpace => Some(FileFailure::NoSpace),
        Wire::Invalid => Some(FileFailure::Invalid),
        Wire::Limit => Some(FileFailure::Limit),
        Wire::Abandoned => Some(FileFailure::Abandoned),
        Wire::Other => Some(FileFailure::Other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> Call {
        Call {
            name: "box".parse().unwrap(),
        }
    }

    #[test]
    fn failures_of_files_vms_and_agents_are_told_apart() {
        let mut full = Status::resource_exhausted("cannot write a: no space");
        let number = wire::FileFailure::NoSpace as i32;
        full.metadata_mut()
            .insert(FILE_FAILURE_METADATA, number.into());
        assert!(matches!(
            call().error(&full),
            CopyError::Guest { failure: FileFailure::NoSpace, message, .. }
                if message == "cannot write a: no space"
        ));
        let old = call().error(&Status::unimplemented("no such method"));
        assert!(matches!(old, CopyError::AgentTooOld { .. }));
        assert_eq!(old.kind(), crate::ErrorKind::Unsupported);
        let lost = call().error(&Status::unavailable("gone"));
        assert!(matches!(lost, CopyError::VmLost { .. }));
        let broken = call().error(&Status::internal("confused"));
        assert!(matches!(broken, CopyError::Agent { .. }));
    }

    #[test]
    fn messages_without_content_break_the_protocol() {
        let empty = wire::ReadTreeResponse { response: None };
        assert!(call().event(empty).is_err());
    }

    #[tokio::test]
    async fn pieces_are_cut_and_only_an_end_finishes() {
        use write_tree_request::Request;
        for (whole, last) in [(true, true), (false, false)] {
            let (sender, pieces) = mpsc::channel(4);
            let data = vec![1; MAX_STREAM_CHUNK + 1];
            sender.try_send(Piece::Data(data.into())).unwrap();
            if whole {
                sender.try_send(Piece::End).unwrap();
            }
            drop(sender);
            let (requests, mut sent) = mpsc::channel(8);
            feed(wire::WriteTreeStart::default(), pieces, requests).await;
            let mut lengths = Vec::new();
            let mut finished = false;
            while let Some(message) = sent.recv().await {
                match message.request.unwrap() {
                    Request::Start(_) => {}
                    Request::Data(data) => lengths.push(data.len()),
                    Request::Finish(_) => finished = true,
                }
            }
            assert_eq!((lengths, finished), (vec![MAX_STREAM_CHUNK, 1], last));
        }
    }
}
