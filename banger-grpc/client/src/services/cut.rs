//! Streams that go on where they were cut.
//!
//! Invariants: nothing is told twice or left out, whatever breaks meanwhile; a server
//! that cuts every stream before there is anything new is not asked for ever. Entry
//! points: [`Reading`], [`pass_on`].

use banger_core::remote::RemoteError;
use tokio::{
    sync::mpsc,
    time::{Duration, sleep},
};
use tonic::{Response, Status, Streaming};

use super::{Server, errors::FromServer};
use crate::{Client, Failure};

/// Between a stream that was cut and the next one.
const PAUSE: Duration = Duration::from_millis(20);
/// Most streams one after the other that bring nothing.
const ATTEMPTS: u32 = 8;

/// What is read, and how far that came.
pub(super) trait Reading: Send + 'static {
    /// A message of the stream.
    type Answer: Send + 'static;
    /// What is made of it.
    type Piece: Send + 'static;
    /// Why it fails.
    type Error: FromServer + From<RemoteError> + Send + 'static;

    /// Begins a stream where the last one was cut.
    fn open(
        &self,
        client: &Client,
    ) -> impl Future<Output = Result<Response<Streaming<Self::Answer>>, Status>> + Send;

    /// Takes a message, and goes on behind it.
    fn take(&mut self, answer: Self::Answer) -> Result<Vec<Self::Piece>, Self::Error>;

    /// The stream was cut: the next message is one of another stream.
    fn cut(&mut self) {}

    /// Whether the last message was taken; none where a stream's own end says that.
    fn is_over(&self) -> Option<bool> {
        None
    }
}

/// Reads to the end, or until nobody takes any more.
pub(super) async fn pass_on<R: Reading + Sync>(
    server: Server,
    mut reading: R,
    sender: mpsc::Sender<R::Piece>,
) -> Result<(), R::Error> {
    let mut fruitless = 0;
    loop {
        let opened = server.read(|| reading.open(&server.client)).await;
        let mut stream = opened.map_err(R::Error::from_server)?;
        let failure = loop {
            let answer = tokio::select! {
                answer = stream.message() => answer,
                () = sender.closed() => return Ok(()),
            };
            match answer {
                Ok(Some(answer)) => {
                    for piece in reading.take(answer)? {
                        fruitless = 0;
                        if sender.send(piece).await.is_err() {
                            return Ok(());
                        }
                    }
                    // what ends the stream after that may be lost
                    if reading.is_over() == Some(true) {
                        return Ok(());
                    }
                }
                Ok(None) if reading.is_over().is_none() => return Ok(()),
                Ok(None) => break Failure::cut(),
                Err(status) => break Failure::from(status),
            }
        };
        reading.cut();
        fruitless += 1;
        if !failure.is_retryable() || ATTEMPTS <= fruitless {
            return Err(R::Error::from_server(failure));
        }
        sleep(PAUSE).await;
    }
}
