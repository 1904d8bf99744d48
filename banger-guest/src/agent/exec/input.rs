//! What a client sends to its process.
//!
//! Standard input waits in a short queue, so that a signal or a new size
//! overtakes up to [`QUEUE`] chunks that the process does not read. A process
//! that closed its input just loses the rest.

use std::sync::Arc;

use banger_proto::{
    MAX_EXEC_CHUNK,
    guest::v1::{ExecRequest, exec_request::Request},
};
use bytes::Bytes;
use tokio::sync::mpsc;
use tonic::Streaming;

use super::{
    failure::SpawnError,
    process::Process,
    stdio::{self, Input},
};
use crate::{descriptor::Descriptor, sys::signals};

/// Chunks of standard input that wait for the process.
const QUEUE: usize = 4;

/// Why no more requests come.
#[derive(Debug)]
pub(super) enum Loss {
    /// The client is gone.
    Gone,
    /// The client broke the protocol.
    Misuse(SpawnError),
}

/// Who acts on a client's requests.
#[derive(Debug)]
pub(super) struct Controls<'a> {
    /// The process.
    pub(super) process: &'a Process,
    /// Its terminal.
    pub(super) terminal: Option<Arc<Descriptor>>,
}

impl Controls<'_> {
    /// Carries requests out until the client is lost. A client that closes its
    /// side has closed the standard input, and is not lost.
    pub(super) async fn follow(&self, requests: &mut Streaming<ExecRequest>, input: Input) -> Loss {
        let (queue, chunks) = mpsc::channel(QUEUE);
        let feeding = async {
            feed(input, chunks).await;
            std::future::pending().await
        };
        tokio::select! {
            loss = self.obey(requests, queue) => loss,
            loss = feeding => loss,
        }
    }

    async fn obey(
        &self,
        requests: &mut Streaming<ExecRequest>,
        queue: mpsc::Sender<Bytes>,
    ) -> Loss {
        let mut queue = Some(queue);
        loop {
            match requests.message().await {
                Ok(Some(request)) => {
                    if let Err(misuse) = self.carry_out(request, &mut queue).await {
                        return Loss::Misuse(misuse);
                    }
                }
                Ok(None) => {
                    drop(queue.take());
                    return std::future::pending().await;
                }
                Err(_) => return Loss::Gone,
            }
        }
    }

    async fn carry_out(
        &self,
        request: ExecRequest,
        queue: &mut Option<mpsc::Sender<Bytes>>,
    ) -> Result<(), SpawnError> {
        match request.request {
            Some(Request::Stdin(chunk)) => return enqueue(queue.as_ref(), chunk).await,
            Some(Request::CloseStdin(_)) => drop(queue.take()),
            Some(Request::Resize(size)) => {
                if let Some(terminal) = &self.terminal {
                    stdio::resize(terminal, size).map_err(SpawnError::resources("resize"))?;
                }
            }
            Some(Request::Signal(number)) => self.process.signal(signal(number)?),
            Some(Request::Start(_)) => return Err(SpawnError::invalid("a second `start`")),
            None => return Err(SpawnError::invalid("a message without content")),
        }
        Ok(())
    }
}

fn signal(number: u32) -> Result<i32, SpawnError> {
    i32::try_from(number)
        .ok()
        .filter(|number| (1..=signals::HIGHEST).contains(number))
        .ok_or_else(|| SpawnError::invalid(format!("{number} is no signal")))
}

async fn enqueue(queue: Option<&mpsc::Sender<Bytes>>, chunk: Bytes) -> Result<(), SpawnError> {
    if MAX_EXEC_CHUNK < chunk.len() {
        return Err(SpawnError::invalid("a chunk of input is over 65536 bytes"));
    }
    let Some(queue) = queue else {
        return Err(SpawnError::invalid("input after its end"));
    };
    // the feeder takes chunks for as long as this side can send
    drop(queue.send(chunk).await);
    Ok(())
}

/// Writes chunks until the queue ends; after a failure they are let go.
async fn feed(input: Input, mut chunks: mpsc::Receiver<Bytes>) {
    while let Some(chunk) = chunks.recv().await {
        if input.write(&chunk).await.is_err() {
            drop(input);
            while chunks.recv().await.is_some() {}
            return;
        }
    }
    input.close().await;
}
