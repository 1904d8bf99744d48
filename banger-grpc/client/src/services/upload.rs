//! Files of this host, sent to a server for an operation.
//!
//! Invariants: a file is read once, whatever breaks meanwhile; no more of it is held
//! than what the server has not said to keep, and that is bounded; a file that no
//! operation takes over is removed. Entry points: [`Server::upload`].

mod window;

use std::io::{self, Write};

use banger_api::v1::{
    DeleteUploadRequest, ErrorReason, WriteUploadEnd, WriteUploadRequest, WriteUploadResponse,
    WriteUploadStart, write_upload_request::Piece, write_upload_response::Progress,
};
use banger_core::{
    ErrorKind,
    domain::Digest,
    host_fs::PathError,
    oci::{Delivery, Undelivered},
};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Duration, Instant, sleep},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use tonic::Status;
use uuid::Uuid;

use super::Server;
use crate::{Client, Failure, retry};
use window::Window;

/// Pieces that may wait.
const QUEUE: usize = 2;
/// Most bytes of one piece.
const PIECE: usize = 65_536;
/// The first pause between a stream that was cut and the next one; each is twice the
/// one before.
const PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A file that a server has. It is removed there when this is dropped, unless an
/// operation took it over.
#[derive(Debug)]
pub(super) struct Upload {
    client: Client,
    tasks: TaskTracker,
    /// What the server calls it; empty when there is nothing to remove.
    name: String,
}

/// Why a file could not be sent.
#[derive(Debug)]
pub(super) enum Unsent {
    /// It cannot be read.
    Read(PathError),
    /// The server does not take it.
    Server(Failure),
}

/// What is read of a file.
enum Told {
    Data(Bytes),
    End(Result<(), PathError>),
}

/// A file on its way.
struct Sending {
    pieces: mpsc::Receiver<Told>,
    window: Window,
    hasher: Sha256,
    /// Whether all of it was read.
    is_read: bool,
    /// When there was last news.
    news: Instant,
}

impl Upload {
    pub(super) fn name(&self) -> String {
        self.name.clone()
    }

    /// The operation removes it.
    pub(super) fn taken_over(mut self) {
        self.name.clear();
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let name = std::mem::take(&mut self.name);
        if name.is_empty() {
            return;
        }
        let client = self.client.clone();
        drop(self.tasks.spawn(async move {
            let request = DeleteUploadRequest { name };
            let removed = retry::until(client.deadline(), || {
                let (request, mut uploads) = (request.clone(), client.uploads());
                async move { uploads.delete_upload(request).await }
            });
            // what is not removed now the server does itself later
            drop(removed.await);
        }));
    }
}

impl Server {
    /// Sends a file.
    pub(super) async fn upload(&self, delivery: Delivery) -> Result<Upload, Unsent> {
        let id = Uuid::now_v7().to_string();
        let upload = Upload {
            client: self.client.clone(),
            tasks: self.tasks.clone(),
            name: format!("uploads/{id}"),
        };
        let (pieces, _reading) = self.deliver(delivery);
        let mut sending = Sending {
            pieces,
            window: Window::default(),
            hasher: Sha256::new(),
            is_read: false,
            news: Instant::now(),
        };
        let mut pause = PAUSE;
        loop {
            let begun = sending.news;
            let failure = match sending.stream(&self.client, &id).await {
                Ok(()) => return Ok(upload),
                Err(Unsent::Server(failure)) if is_worth_a_try(&failure) => failure,
                Err(unsent) => return Err(unsent),
            };
            if begun != sending.news {
                pause = PAUSE;
            }
            let wanted = failure.retry_after.unwrap_or(pause);
            if self.client.budget < sending.news.elapsed() + wanted {
                return Err(Unsent::Server(Failure::out_of_time(Some(failure))));
            }
            sleep(wanted).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Reads a file on a thread, for as long as the guard is there.
    fn deliver(&self, delivery: Delivery) -> (mpsc::Receiver<Told>, DropGuard) {
        let (sender, pieces) = mpsc::channel(QUEUE);
        let cancelled = CancellationToken::new();
        let guard = cancelled.clone().drop_guard();
        let reading: JoinHandle<()> = self.tasks.spawn_blocking(move || {
            let mut writer = Pieces(&sender);
            let end = match delivery.write_to(&mut writer, &cancelled) {
                Ok(()) => Ok(()),
                Err(Undelivered::Read(error)) => Err(error),
                // nobody listens
                Err(Undelivered::Write(_)) => return,
            };
            drop(sender.blocking_send(Told::End(end)));
        });
        drop(reading);
        (pieces, guard)
    }
}

impl Sending {
    /// Sends what the server has not, on one stream.
    async fn stream(&mut self, client: &Client, id: &str) -> Result<(), Unsent> {
        let (requests, outgoing) = mpsc::channel(QUEUE);
        let start = Piece::Start(WriteUploadStart {
            upload_id: id.to_owned(),
        });
        // the queue is empty and its reader in our hands: this never waits
        drop(requests.send(message(start)).await);
        let mut uploads = client.uploads();
        let answered = uploads.write_upload(ReceiverStream::new(outgoing)).await;
        let mut answers = answered.map_err(server)?.into_inner();
        let Some(mut sent) = self.heard(answers.message().await)? else {
            return Ok(());
        };
        if !self.window.reaches(sent) {
            let message = "the service lost a part of what was sent to it";
            let failure = Failure::own(ErrorKind::Conflict, message);
            return Err(Unsent::Server(failure));
        }
        let mut has_ended = false;
        loop {
            let next = self.window.after(sent);
            let is_over = self.is_read && next.is_none();
            let may_send = next.is_some() || (is_over && !has_ended);
            tokio::select! {
                answer = answers.message() => match self.heard(answer)? {
                    Some(_) => {}
                    None => return Ok(()),
                },
                permit = requests.reserve(), if may_send && !requests.is_closed() => {
                    // a closed queue means that the call ended, which is told where it is read
                    if let Ok(permit) = permit {
                        if let Some(next) = next {
                            sent += next.len() as u64;
                            permit.send(message(Piece::Data(next)));
                        } else {
                            has_ended = true;
                            permit.send(message(self.end()));
                        }
                    }
                }
                told = self.pieces.recv(), if !self.is_read && self.window.has_room() => {
                    self.take(told)?;
                }
            }
        }
    }

    /// What the server says: how much it keeps; none when the file is whole.
    fn heard(
        &mut self,
        answer: Result<Option<WriteUploadResponse>, Status>,
    ) -> Result<Option<u64>, Unsent> {
        let answer = answer.map_err(server)?;
        let Some(progress) = answer.and_then(|answer| answer.progress) else {
            return Err(Unsent::Server(Failure::cut()));
        };
        self.news = Instant::now();
        match progress {
            Progress::KeptBytes(kept) => {
                self.window.keep(kept);
                Ok(Some(kept))
            }
            Progress::Whole(_) => Ok(None),
        }
    }

    fn take(&mut self, told: Option<Told>) -> Result<(), Unsent> {
        match told {
            Some(Told::Data(data)) => {
                self.hasher.update(&data);
                self.window.push(data);
            }
            Some(Told::End(Ok(()))) => self.is_read = true,
            Some(Told::End(Err(error))) => return Err(Unsent::Read(error)),
            // the thread never ends without a word
            None => return Err(Unsent::Server(Failure::cut())),
        }
        Ok(())
    }

    fn end(&self) -> Piece {
        let digest: [u8; 32] = self.hasher.clone().finalize().into();
        Piece::End(WriteUploadEnd {
            size_bytes: self.window.end(),
            digest: Digest::from_bytes(digest).to_string(),
        })
    }
}

/// A stream that broke may be heard of after the one that follows it, and end that.
fn is_worth_a_try(failure: &Failure) -> bool {
    failure.is_retryable() || failure.reason == Some(ErrorReason::UploadTakenOver)
}

fn server(status: Status) -> Unsent {
    Unsent::Server(status.into())
}

const fn message(piece: Piece) -> WriteUploadRequest {
    WriteUploadRequest { piece: Some(piece) }
}

/// Passes on what is written, in pieces.
struct Pieces<'a>(&'a mpsc::Sender<Told>);

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = &bytes[..bytes.len().min(PIECE)];
        let sent = self
            .0
            .blocking_send(Told::Data(Bytes::copy_from_slice(piece)));
        match sent {
            Ok(()) => Ok(piece.len()),
            Err(_) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
