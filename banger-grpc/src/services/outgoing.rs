//! Files that are made while they are sent.
//!
//! Invariants: what is made waits for whoever takes it, and ends soon after nobody
//! does; nothing of it is kept here. Entry points: [`send`].

use std::{fs::File, io, os::fd::OwnedFd, pin::Pin, sync::Arc};

use banger_api::v1::Counted as Progress;
use banger_core::{
    domain::Digest,
    error::ErrorKind,
    host_fs::Output,
    progress::{ProgressEvent, ProgressSink},
};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, stream};
use sha2::{Digest as _, Sha256};
use tokio::{io::AsyncReadExt as _, net::unix::pipe, sync::mpsc};
use tonic::Status;

use super::image_disk::MAX_PIECE;
use crate::{call::load::Counted, fault::Fault};

/// Events that may wait: as many as may wait in the core.
const EVENTS: usize = 64;

/// Something of a file.
pub(super) enum Piece<T> {
    /// Its next bytes.
    Data(Bytes),
    /// How far it is made.
    Progress(Progress),
    /// It is whole: its length, its digest, and what the maker says of it.
    End(u64, Digest, T),
}

type Making<T> = Pin<Box<dyn Future<Output = Result<T, Fault>> + Send>>;

/// A file on its way out through a pipe.
struct Outgoing<T> {
    /// What writes it; none once that is over.
    making: Option<Making<T>>,
    made: Option<T>,
    output: pipe::Receiver,
    events: mpsc::Receiver<Progress>,
    hasher: Sha256,
    /// Bytes that came through the pipe.
    length: u64,
    /// Bytes that are not sent.
    offset: u64,
    _counted: Counted,
}

/// Tells what is counted of a bundle.
#[derive(Debug)]
pub(super) struct Events(mpsc::Sender<Progress>);

impl ProgressSink for Events {
    fn emit(&self, event: ProgressEvent) {
        if let ProgressEvent::Bundle { done, total, .. } = event {
            let (done, total) = (done.get(), total.get());
            // whoever takes no pieces does without
            let _ = self.0.try_send(Progress { done, total });
        }
    }
}

/// What `make` writes to its output, from an offset on.
pub(super) fn send<T, F>(
    counted: Counted,
    offset: u64,
    make: impl FnOnce(Output, Events) -> F,
) -> Result<impl Stream<Item = Result<Piece<T>, Status>> + Send, Fault>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Fault>> + Send + 'static,
{
    let (output, input) = io::pipe().map_err(|error| broken(&error))?;
    let output = pipe::Receiver::from_owned_fd(output.into()).map_err(|error| broken(&error))?;
    let input = Output::Stream(Arc::new(File::from(OwnedFd::from(input))));
    let (sender, events) = mpsc::channel(EVENTS);
    let outgoing = Outgoing {
        making: Some(Box::pin(make(input, Events(sender)))),
        made: None,
        output,
        events,
        hasher: Sha256::new(),
        length: 0,
        offset,
        _counted: counted,
    };
    Ok(stream::try_unfold(Some(outgoing), |outgoing| async {
        let Some(mut outgoing) = outgoing else {
            return Ok(None);
        };
        let piece = outgoing.next().await?;
        let left = (!matches!(piece, Piece::End(..))).then_some(outgoing);
        Ok(Some((piece, left)))
    }))
}

fn broken(error: &io::Error) -> Fault {
    Fault::of(ErrorKind::of_io(error), error)
}

impl<T> Outgoing<T> {
    async fn next(&mut self) -> Result<Piece<T>, Fault> {
        loop {
            let bytes = match self.piece().await? {
                Piece::Data(bytes) if bytes.is_empty() => return self.end(),
                Piece::Data(bytes) => bytes,
                other => return Ok(other),
            };
            self.hasher.update(&bytes);
            let skipped = self.offset.saturating_sub(self.length);
            self.length += bytes.len() as u64;
            let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
            if skipped < bytes.len() {
                return Ok(Piece::Data(bytes.slice(skipped..)));
            }
        }
    }

    /// News, or the next bytes; none when all came and nobody writes any more.
    async fn piece(&mut self) -> Result<Piece<T>, Fault> {
        let mut buffer = BytesMut::with_capacity(MAX_PIECE);
        loop {
            if let Ok(event) = self.events.try_recv() {
                return Ok(Piece::Progress(event));
            }
            let Some(making) = &mut self.making else {
                let read = self.output.read_buf(&mut buffer).await;
                read.map_err(|error| broken(&error))?;
                return Ok(Piece::Data(buffer.freeze()));
            };
            tokio::select! {
                made = making => {
                    self.making = None;
                    self.made = Some(made?);
                }
                Some(event) = self.events.recv() => return Ok(Piece::Progress(event)),
                read = self.output.read_buf(&mut buffer) => {
                    if read.map_err(|error| broken(&error))? != 0 {
                        return Ok(Piece::Data(buffer.freeze()));
                    }
                    // an end that nobody explained yet
                    if let Some(making) = self.making.take() {
                        self.made = Some(making.await?);
                    }
                }
            }
        }
    }

    fn end(&mut self) -> Result<Piece<T>, Fault> {
        // it is there once nobody writes any more
        let made = self.made.take();
        let made = made.ok_or_else(|| broken(&io::ErrorKind::Interrupted.into()))?;
        let digest: [u8; 32] = self.hasher.finalize_reset().into();
        Ok(Piece::End(self.length, Digest::from_bytes(digest), made))
    }
}
