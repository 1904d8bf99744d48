//! Bytes of one connection, both ways.

use banger_proto::{
    MAX_STREAM_CHUNK,
    guest::v1::{
        ConnectRequest, ConnectResponse, Connected, DirectionFinished, connect_request::Request,
        connect_response::Response,
    },
};
use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};
use tonic::{Status, Streaming};

use super::Responses;

/// Carries bytes until both directions have ended, one breaks, or the client is
/// gone.
pub(super) async fn relay(
    stream: TcpStream,
    requests: Streaming<ConnectRequest>,
    responses: Responses,
) {
    send(&responses, Response::Connected(Connected {})).await;
    let (reader, writer) = stream.into_split();
    let both = async {
        let outward = carry_out(reader, &responses);
        tokio::try_join!(outward, carry_in(requests, writer))
    };
    let ended = tokio::select! {
        ended = both => ended,
        () = responses.closed() => return,
    };
    if let Err(status) = ended {
        drop(responses.send(Err(status)).await);
    }
}

/// From the guest's server to the client, to its end.
async fn carry_out(mut reader: OwnedReadHalf, responses: &Responses) -> Result<(), Status> {
    let mut buffer = vec![0; MAX_STREAM_CHUNK];
    loop {
        match reader.read(&mut buffer).await {
            Ok(0) => break,
            Ok(count) => {
                let data = Bytes::copy_from_slice(buffer.get(..count).unwrap_or_default());
                send(responses, Response::Data(data)).await;
            }
            Err(error) => {
                let message = format!("the connection broke: {error}");
                return Err(Status::aborted(message));
            }
        }
    }
    send(responses, Response::Finish(DirectionFinished {})).await;
    Ok(())
}

/// From the client to the guest's server; its end is the end of what the server
/// can read. What a server does not take any more is its answer's business.
async fn carry_in(
    mut requests: Streaming<ConnectRequest>,
    mut writer: OwnedWriteHalf,
) -> Result<(), Status> {
    loop {
        let Ok(Some(ConnectRequest { request })) = requests.message().await else {
            return Err(Status::aborted("the client went away"));
        };
        let written = match request {
            Some(Request::Data(data)) => writer.write_all(&data).await,
            Some(Request::Finish(_)) => {
                // whoever reset the connection is noticed by the other direction
                writer.shutdown().await.ok();
                return Ok(());
            }
            Some(Request::Start(_)) | None => {
                return Err(Status::invalid_argument("a message out of order"));
            }
        };
        if written.is_err() {
            return Ok(());
        }
    }
}

async fn send(responses: &Responses, response: Response) {
    let response = Some(response);
    // a client that is gone ends the relay
    drop(responses.send(Ok(ConnectResponse { response })).await);
}
