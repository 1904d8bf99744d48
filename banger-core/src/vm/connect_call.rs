//! A connection into a guest: one call through the monitor to the agent.
//!
//! Invariants: both queues are bounded; each direction ends by itself; the call
//! ends when both did, when it breaks, or when the caller gives it up.

use std::time::Duration;

use banger_proto::{
    CONNECT_FAILURE_METADATA, MAX_STREAM_CHUNK,
    guest::v1::{
        self as wire, connect_request::Request, connect_response::Response,
        connect_service_client::ConnectServiceClient,
    },
};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::{
    ConnectError, ConnectFailure, GuestAddress, GuestConnection, StreamPiece,
    http2::{Http2Client, origin},
    in_words,
    monitor_call::reach,
    supervisor::Host,
};
use crate::domain::{Selector, VmName, VmState};

/// Messages that may wait in each direction.
const QUEUE: usize = 4;
/// How long the guest may take: above what it allows an address.
const DEADLINE: Duration = Duration::from_secs(90);
/// Most bytes of one message from the guest.
const MESSAGE_LIMIT: usize = 1 << 20;

/// Opens a connection.
pub(super) async fn connect(
    host: &Host,
    selector: &Selector,
    address: GuestAddress,
) -> Result<GuestConnection, ConnectError> {
    let vm = host.find(selector).await?;
    if vm.state != VmState::Running {
        return Err(ConnectError::NotRunning {
            name: vm.name,
            state: vm.state,
        });
    }
    if !vm.spec.boot_mode.has_agent() {
        return Err(ConnectError::NoAgent { name: vm.name });
    }
    let call = Call {
        name: vm.name,
        address,
    };
    let client = reach(&host.files(vm.id).socket(), &host.tasks).await;
    let client = client.map_err(|error| call.lost(in_words(&error)))?;
    let (requests, outgoing) = mpsc::channel(QUEUE);
    let opening = timeout(DEADLINE, call.open(client, &requests, outgoing)).await;
    let responses = opening.unwrap_or_else(|_| Err(call.broken("it did not answer in time")))?;
    let (outgoing, pieces) = mpsc::channel(QUEUE);
    let (sender, incoming) = mpsc::channel(QUEUE);
    drop(host.tasks.spawn(async move {
        tokio::select! {
            () = sender.closed() => {}
            () = call.relay(responses, &sender) => {}
            () = feed(pieces, requests) => {}
        }
    }));
    Ok(GuestConnection { outgoing, incoming })
}

/// Names for the errors of one call.
#[derive(Debug)]
struct Call {
    name: VmName,
    address: GuestAddress,
}

impl Call {
    /// Makes the call and waits until the connection is open.
    async fn open(
        &self,
        client: Http2Client,
        requests: &mpsc::Sender<wire::ConnectRequest>,
        outgoing: mpsc::Receiver<wire::ConnectRequest>,
    ) -> Result<Streaming<wire::ConnectResponse>, ConnectError> {
        let host = self.address.host;
        let start = wire::ConnectStart {
            host: host.map(|host| host.to_string()).unwrap_or_default(),
            port: self.address.port.get().into(),
        };
        // the queue is empty and its reader in our hands: this never waits
        drop(requests.send(message(Request::Start(start))).await);
        let mut connector = ConnectServiceClient::with_origin(client, origin())
            .max_decoding_message_size(MESSAGE_LIMIT);
        let answered = connector.connect(ReceiverStream::new(outgoing)).await;
        let mut responses = answered.map_err(|status| self.error(&status))?.into_inner();
        let first = responses.message().await;
        match first.map_err(|status| self.error(&status))? {
            Some(wire::ConnectResponse {
                response: Some(Response::Connected(_)),
            }) => Ok(responses),
            _ => Err(self.broken("it did not say that the connection is open")),
        }
    }

    /// Passes bytes on until the call ends, or until nobody listens.
    async fn relay(
        &self,
        mut responses: Streaming<wire::ConnectResponse>,
        incoming: &mpsc::Sender<Result<StreamPiece, ConnectError>>,
    ) {
        let mut ended = false;
        loop {
            let piece = match responses.message().await {
                Ok(Some(response)) => self.piece(response),
                Ok(None) if ended => return,
                Ok(None) => Err(self.lost("the connection ended without a word".to_owned())),
                Err(status) => Err(self.error(&status)),
            };
            ended |= matches!(piece, Ok(StreamPiece::End));
            let last = piece.is_err();
            if incoming.send(piece).await.is_err() || last {
                return;
            }
        }
    }

    fn piece(&self, response: wire::ConnectResponse) -> Result<StreamPiece, ConnectError> {
        match response.response {
            Some(Response::Data(bytes)) => Ok(StreamPiece::Data(bytes)),
            Some(Response::Finish(_)) => Ok(StreamPiece::End),
            Some(Response::Connected(_)) | None => {
                Err(self.broken("it sent a message out of order"))
            }
        }
    }

    /// What a failed call means.
    fn error(&self, status: &Status) -> ConnectError {
        let message = status.message().to_owned();
        if let Some(failure) = connect_failure(status) {
            return ConnectError::Refused {
                name: self.name.clone(),
                address: self.address,
                failure,
                message,
            };
        }
        // a status with a cause was made on this side, of a broken connection
        let broken = std::error::Error::source(status).is_some();
        match status.code() {
            Code::Unimplemented => ConnectError::AgentTooOld {
                name: self.name.clone(),
            },
            Code::Unavailable | Code::Cancelled => self.lost(message),
            _ if broken => self.lost(in_words(status)),
            Code::Aborted => ConnectError::Broken {
                name: self.name.clone(),
                address: self.address,
                message,
            },
            _ => self.broken(&message),
        }
    }

    fn lost(&self, problem: String) -> ConnectError {
        ConnectError::VmLost {
            name: self.name.clone(),
            problem,
        }
    }

    fn broken(&self, problem: &str) -> ConnectError {
        ConnectError::Agent {
            name: self.name.clone(),
            problem: problem.to_owned(),
        }
    }
}

/// Sends what the caller does. After the caller's end the call goes on; a caller
/// who gives up without one ends it.
async fn feed(
    mut pieces: mpsc::Receiver<StreamPiece>,
    requests: mpsc::Sender<wire::ConnectRequest>,
) {
    while let Some(piece) = pieces.recv().await {
        // a closed queue means that the call ended
        match piece {
            StreamPiece::End => {
                let finish = Request::Finish(wire::DirectionFinished {});
                drop(requests.send(message(finish)).await);
                return std::future::pending().await;
            }
            StreamPiece::Data(bytes) => {
                for chunk in bytes.chunks(MAX_STREAM_CHUNK) {
                    let data = Request::Data(bytes.slice_ref(chunk));
                    drop(requests.send(message(data)).await);
                }
            }
        }
    }
}

const fn message(request: Request) -> wire::ConnectRequest {
    wire::ConnectRequest {
        request: Some(request),
    }
}

fn connect_failure(status: &Status) -> Option<ConnectFailure> {
    use wire::ConnectFailure as Wire;
    let value = status.metadata().get(CONNECT_FAILURE_METADATA)?;
    let number: i32 = value.to_str().ok()?.parse().ok()?;
    match Wire::try_from(number).ok()? {
        Wire::Unspecified => None,
        Wire::Refused => Some(ConnectFailure::Refused),
        Wire::Unreachable => Some(ConnectFailure::Unreachable),
        Wire::TimedOut => Some(ConnectFailure::TimedOut),
        Wire::InvalidRequest => Some(ConnectFailure::InvalidRequest),
        Wire::Resources => Some(ConnectFailure::Resources),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_from_broken_connections_and_lost_vms() {
        let call = Call {
            name: "box".parse().unwrap(),
            address: GuestAddress {
                host: None,
                port: std::num::NonZeroU16::MIN,
            },
        };
        let mut refused = Status::failed_precondition("127.0.0.1:1: refused");
        let number = wire::ConnectFailure::Refused as i32;
        refused
            .metadata_mut()
            .insert(CONNECT_FAILURE_METADATA, number.into());
        let error = call.error(&refused);
        assert!(matches!(
            error,
            ConnectError::Refused {
                failure: ConnectFailure::Refused,
                ..
            }
        ));
        let told = "port 1 of VM box cannot be connected to: 127.0.0.1:1: refused";
        assert_eq!(error.to_string(), told);
        let broken = call.error(&Status::aborted("reset"));
        assert!(matches!(broken, ConnectError::Broken { .. }));
        let lost = call.error(&Status::unavailable("gone"));
        assert!(matches!(lost, ConnectError::VmLost { .. }));
        let old = call.error(&Status::unimplemented("no such method"));
        assert!(matches!(old, ConnectError::AgentTooOld { .. }));
    }
}
