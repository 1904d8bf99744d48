//! Files that a server makes, on this host.
//!
//! Invariants: a file appears whole, or not at all; what was put together from several
//! streams is what one would have been, or an error. Entry points: [`Server::bring`].

use std::io::Write;

use banger_api::v1::Counted;
use banger_core::{
    domain::{Bytes as Amount, Digest},
    host_fs::{Output, OutputProblem},
    progress::{BundleStep, ProgressEvent, ProgressSink},
};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::{
    Server,
    cut::{Reading, pass_on},
    errors::FromServer as _,
    work::settle,
};
use crate::Failure;

/// Pieces that may wait.
const QUEUE: usize = 4;

/// Something of a file.
pub(super) enum Part<E> {
    Data(Bytes),
    /// How far a bundle is made, in bytes.
    Progress(Counted),
    /// The length and the digest of the whole, and what else its end says.
    End(u64, String, E),
}

/// How far the making of a file was.
#[derive(Debug, Default)]
pub(super) struct Most(u64);

impl Most {
    /// What is new of it: another stream begins from nothing once more.
    pub(super) const fn part<E>(&mut self, progress: Counted) -> Option<Part<E>> {
        if progress.done <= self.0 {
            return None;
        }
        self.0 = progress.done;
        Some(Part::Progress(progress))
    }
}

/// Why a file was not written.
pub(super) enum Unwritten {
    Output(OutputProblem),
    /// It was not the same all the time.
    Changed,
    /// Nothing came any more, which whoever read can explain.
    Cut,
}

impl Server {
    /// Puts what is read where it is wanted, and answers what its end says.
    pub(super) async fn bring<R, E>(
        &self,
        reading: R,
        output: Output,
        progress: &dyn ProgressSink,
        failed: impl FnOnce(Unwritten) -> R::Error + Send,
    ) -> Result<E, R::Error>
    where
        R: Reading<Piece = Part<E>> + Sync,
        E: Send + 'static,
    {
        let (sender, parts) = mpsc::channel(QUEUE);
        let (telling, mut told) = mpsc::channel(QUEUE);
        let writing = self.tasks.spawn_blocking(move || {
            output.put(Unwritten::Output, |writer| write(parts, &telling, writer))
        });
        let telling = async {
            while let Some(event) = told.recv().await {
                progress.emit(event);
            }
        };
        let reading = pass_on(self.clone(), reading, sender);
        let (read, written, ()) = tokio::join!(reading, settle(writing), telling);
        match written {
            Ok(end) => Ok(end),
            Err(Unwritten::Cut) => {
                read?;
                Err(R::Error::from_server(Failure::cut()))
            }
            Err(unwritten) => Err(failed(unwritten)),
        }
    }
}

/// Writes what comes, up to the end that it must have.
fn write<E>(
    mut parts: mpsc::Receiver<Part<E>>,
    telling: &mpsc::Sender<ProgressEvent>,
    writer: &mut dyn Write,
) -> Result<E, Unwritten> {
    let (mut hasher, mut length) = (Sha256::new(), 0);
    while let Some(part) = parts.blocking_recv() {
        match part {
            Part::Data(data) => {
                let written = writer.write_all(&data);
                written.map_err(|error| Unwritten::Output(OutputProblem::Write(error)))?;
                hasher.update(&data);
                length += data.len() as u64;
            }
            Part::Progress(Counted { done, total }) => {
                let event = ProgressEvent::Bundle {
                    step: BundleStep::Packing,
                    done: Amount::new(done),
                    total: Amount::new(total),
                };
                // whoever is gone needs no news
                drop(telling.blocking_send(event));
            }
            Part::End(size, digest, end) => {
                let whole: [u8; 32] = hasher.finalize().into();
                if length != size || Digest::from_bytes(whole).to_string() != digest {
                    return Err(Unwritten::Changed);
                }
                return Ok(end);
            }
        }
    }
    Err(Unwritten::Cut)
}
