//! Bytes between a client of the host and a server of the guest.
//!
//! Invariants: nothing waits but what the two queues hold; each direction ends
//! by itself; a client that breaks off takes the guest's connection with it.

use banger_core::vm::{ConnectError, GuestConnection, StreamPiece};
use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
};

/// Most bytes read at once.
const CHUNK: usize = 64 * 1024;

/// Carries bytes until both directions have ended or one breaks.
pub(super) async fn relay(
    client: TcpStream,
    connection: GuestConnection,
) -> Result<(), ConnectError> {
    // small messages go at once, as on the guest's side
    client.set_nodelay(true).ok();
    let (reader, writer) = client.into_split();
    let GuestConnection { outgoing, incoming } = connection;
    let mut inward = std::pin::pin!(carry_in(reader, outgoing));
    let mut outward = std::pin::pin!(carry_out(incoming, writer));
    tokio::select! {
        // the guest's answer decides, also about what it takes
        ended = &mut outward => ended,
        whole = &mut inward => {
            if whole {
                outward.await
            } else {
                Ok(())
            }
        }
    }
}

/// From the client to the guest; false when the client broke off. Does not end
/// when the guest takes no more.
async fn carry_in(mut reader: OwnedReadHalf, outgoing: mpsc::Sender<StreamPiece>) -> bool {
    let mut buffer = vec![0; CHUNK];
    loop {
        let piece = match reader.read(&mut buffer).await {
            Ok(0) => StreamPiece::End,
            Ok(count) => StreamPiece::Data(Bytes::copy_from_slice(&buffer[..count])),
            Err(_) => return false,
        };
        let last = piece == StreamPiece::End;
        if outgoing.send(piece).await.is_err() {
            std::future::pending::<()>().await;
        }
        if last {
            // held until the guest's direction has ended, too
            outgoing.closed().await;
            return true;
        }
    }
}

/// From the guest to the client, until the connection has ended.
async fn carry_out(
    mut incoming: mpsc::Receiver<Result<StreamPiece, ConnectError>>,
    mut writer: OwnedWriteHalf,
) -> Result<(), ConnectError> {
    while let Some(piece) = incoming.recv().await {
        let written = match piece? {
            StreamPiece::Data(bytes) => writer.write_all(&bytes).await,
            StreamPiece::End => writer.shutdown().await,
        };
        if written.is_err() {
            // a client that is gone is no failure
            return Ok(());
        }
    }
    Ok(())
}
