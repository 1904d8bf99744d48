//! Connections into a server's machines.

use std::future::pending;

use banger_api::v1::{
    ConnectPortRequest, ConnectPortResponse, ConnectPortStart, DirectionFinished,
    connect_port_request::Message as Said, connect_port_response::Message as Told,
};
use banger_core::{
    domain::Vm,
    vm::{ConnectError, GuestAddress, GuestConnection, StreamPiece},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::Server;
use crate::{Client, Failure, retry};

/// Messages that may wait in each direction.
const QUEUE: usize = 2;
/// Most bytes of one message.
const PIECE: usize = 65_536;

type Pieces = mpsc::Sender<Result<StreamPiece, ConnectError>>;

/// A connection that is open.
struct Opened {
    requests: mpsc::Sender<ConnectPortRequest>,
    responses: Streaming<ConnectPortResponse>,
}

impl Server {
    pub(super) async fn connect(
        &self,
        vm: &Vm,
        address: GuestAddress,
    ) -> Result<GuestConnection, ConnectError> {
        let name = vm.name.clone();
        let failed = move |failure: Failure| failure.of_connection(&name, address);
        let start = ConnectPortStart {
            vm: format!("vms/{}", vm.id),
            host: address
                .host
                .map(|host| host.to_string())
                .unwrap_or_default(),
            port: address.port.get().into(),
        };
        // whoever is asked again connects again: nothing was said on the one before
        let opening = retry::until(self.client.deadline(), || {
            open(self.client.clone(), start.clone())
        });
        let Opened {
            requests,
            responses,
        } = opening.await.map_err(&failed)?;
        let (outgoing, pieces) = mpsc::channel(QUEUE);
        let (sender, incoming) = mpsc::channel(QUEUE);
        drop(self.tasks.spawn(async move {
            tokio::select! {
                () = sender.closed() => {}
                () = relay(responses, &sender, failed) => {}
                () = feed(pieces, requests) => {}
            }
        }));
        Ok(GuestConnection { outgoing, incoming })
    }
}

async fn open(client: Client, start: ConnectPortStart) -> Result<Opened, Status> {
    let (requests, outgoing) = mpsc::channel(QUEUE);
    // the queue is empty and its reader in our hands: this never waits
    drop(requests.send(message(Said::Start(start))).await);
    let mut ports = client.ports();
    let answered = ports.connect_port(ReceiverStream::new(outgoing)).await?;
    let mut responses = answered.into_inner();
    let first = responses.message().await?;
    match first.and_then(|first| first.message) {
        Some(Told::Connected(_)) => Ok(Opened {
            requests,
            responses,
        }),
        _ => Err(Status::unavailable("the stream ended at once")),
    }
}

const fn message(message: Said) -> ConnectPortRequest {
    ConnectPortRequest {
        message: Some(message),
    }
}

/// Passes bytes on until the connection ends, or until nobody listens.
async fn relay(
    mut responses: Streaming<ConnectPortResponse>,
    incoming: &Pieces,
    failed: impl Fn(Failure) -> ConnectError,
) {
    let mut ended = false;
    loop {
        let piece = match responses.message().await {
            Ok(Some(response)) => match response.message {
                Some(Told::Data(bytes)) => Ok(StreamPiece::Data(bytes)),
                Some(Told::Finish(_)) => Ok(StreamPiece::End),
                Some(Told::Connected(_)) | None => {
                    let what = "a connection";
                    Err(failed(Failure::confused(what, "a message is out of order")))
                }
            },
            Ok(None) if ended => return,
            Ok(None) => Err(failed(Failure::cut())),
            Err(status) => Err(failed(Failure::from(status))),
        };
        ended |= matches!(piece, Ok(StreamPiece::End));
        let last = piece.is_err();
        if incoming.send(piece).await.is_err() || last {
            return;
        }
    }
}

/// Sends what the caller does. After the caller's end the call goes on; a caller who
/// gives up without one ends it.
async fn feed(mut pieces: mpsc::Receiver<StreamPiece>, requests: mpsc::Sender<ConnectPortRequest>) {
    while let Some(piece) = pieces.recv().await {
        // a closed queue means that the call ended, which is told where it is read
        match piece {
            StreamPiece::End => {
                drop(
                    requests
                        .send(message(Said::Finish(DirectionFinished {})))
                        .await,
                );
                return pending().await;
            }
            StreamPiece::Data(mut bytes) => {
                while !bytes.is_empty() {
                    let piece = bytes.split_to(bytes.len().min(PIECE));
                    drop(requests.send(message(Said::Data(piece))).await);
                }
            }
        }
    }
}
