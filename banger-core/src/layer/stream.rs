//! Layers inflated on threads of their own, ahead of whoever parses them.
//!
//! Invariants: streams are taken in the order of their blobs, and at most
//! [`LANES`] are read side by side; every stream's digest is computed to its
//! very end, and a blob's where it was not verified; threads end with
//! [`with_streams`], whatever happens.
//! Entry points: [`with_streams`], [`LayerStream`].

use std::{
    collections::VecDeque,
    io::{self, BufRead, Read},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use tokio_util::sync::CancellationToken;

use super::{
    LayerReader, RootfsLimits,
    budget::{Budget, Chunk},
    hashing::{ToHash, hash_streams},
    permits::Permits,
};
use crate::{
    domain::{Bytes, Digest},
    host_fs::PathError,
    oci::LayerBlob,
};

/// Most streams that may be read side by side without waiting for each other.
pub(crate) const LANES: usize = 2;

/// What comes out of a blob's thread.
enum Message {
    Data(Arc<Chunk>),
    Failed(StreamError),
    End(StreamDigests),
}

/// A stream cannot be read on.
#[derive(Debug)]
pub(crate) enum StreamError {
    /// The blob's file failed.
    Open(PathError),
    /// Reading or inflating failed.
    Read(io::Error),
}

/// What a whole stream was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamDigests {
    /// Digest of the blob; none when it was verified before.
    pub(crate) blob: Option<Digest>,
    /// Digest of the tar stream.
    pub(crate) diff_id: Digest,
}

/// What the threads may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamResources {
    /// Memory for inflated bytes that nobody took yet.
    pub(crate) memory: Bytes,
    /// Blobs inflated at the same time.
    pub(crate) decoders: usize,
}

/// What the threads share.
struct Shared<'a> {
    limits: &'a RootfsLimits,
    cancel: &'a CancellationToken,
    budget: Arc<Budget>,
    /// Who may inflate.
    permits: Permits,
    /// Blobs that no thread took yet, each with where its messages go.
    left: Mutex<VecDeque<Task<'a>>>,
}

/// A blob to inflate. Its sender goes with it, so that the receiver notices
/// when its thread is gone.
struct Task<'a> {
    number: usize,
    blob: &'a LayerBlob,
    sender: SyncSender<Message>,
}

/// Inflates `blobs`, and lets `work` read their streams in the given order, at
/// most [`LANES`] side by side, each to its end.
pub(crate) fn with_streams<T>(
    blobs: &[&LayerBlob],
    limits: &RootfsLimits,
    resources: StreamResources,
    cancel: &CancellationToken,
    work: impl FnOnce(&mut Streams) -> T,
) -> T {
    let budget = Budget::new(resources.memory.get(), blobs.len());
    let mut left = VecDeque::new();
    let mut streams = Streams {
        left: VecDeque::new(),
        budget: Arc::clone(&budget),
    };
    for (number, blob) in blobs.iter().enumerate() {
        // a stream's chunks and its end; the budget is what bounds them
        let (sender, receiver) = sync_channel(budget.most() + 1);
        streams.left.push_back((number, receiver));
        left.push_back(Task {
            number,
            blob,
            sender,
        });
    }
    let shared = Shared {
        limits,
        cancel,
        budget,
        permits: Permits::new(resources.decoders.max(1)),
        left: Mutex::new(left),
    };
    // each stream that is read has a thread; the permits bound how many work
    let threads = resources.decoders.max(LANES).min(blobs.len());
    let (to_hash, hashed) = sync_channel(shared.budget.most());
    thread::scope(|scope| {
        scope.spawn(move || hash_streams(&hashed));
        for _ in 0..threads {
            let (shared, to_hash) = (&shared, to_hash.clone());
            scope.spawn(move || decode_some(shared, &to_hash));
        }
        drop(to_hash);
        let worked = work(&mut streams);
        // dropped streams and a stopped budget let every thread go
        drop(streams);
        worked
    })
}

/// Inflates blobs until none is left or nobody listens.
fn decode_some(shared: &Shared<'_>, to_hash: &SyncSender<ToHash>) {
    while let Some(task) = shared.next_task() {
        let last = decode(shared, &task, to_hash);
        if last.is_none_or(|last| task.sender.send(last).is_err()) {
            return;
        }
    }
}

impl<'a> Shared<'a> {
    fn next_task(&self) -> Option<Task<'a>> {
        let left = self.left.lock();
        left.unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

/// Inflates a blob; answers the last message, or none when nobody listens.
fn decode(shared: &Shared<'_>, task: &Task<'_>, to_hash: &SyncSender<ToHash>) -> Option<Message> {
    let mut reader = match LayerReader::open(task.blob, shared.limits, shared.cancel) {
        Ok(reader) => reader,
        Err(error) => return Some(Message::Failed(StreamError::Open(error))),
    };
    let failed = |error| Some(Message::Failed(StreamError::Read(error)));
    loop {
        let mut chunk = shared.budget.take(task.number)?;
        let read = || reader.read_full(chunk.buffer());
        match shared.permits.with(read) {
            Ok(0) => break,
            Ok(length) => chunk.length = length,
            Err(error) => return failed(error),
        }
        let chunk = Arc::new(chunk);
        let hashed = ToHash::Chunk(task.number, Arc::clone(&chunk));
        to_hash.send(hashed).ok()?;
        task.sender.send(Message::Data(chunk)).ok()?;
    }
    let blob = match reader.finish() {
        Ok(blob) => blob,
        Err(error) => return failed(error),
    };
    let (reply, diff_id) = sync_channel(1);
    to_hash.send(ToHash::End(task.number, reply)).ok()?;
    let diff_id = diff_id.recv().ok()?;
    Some(Message::End(StreamDigests { blob, diff_id }))
}

/// The streams that were not taken yet.
pub(crate) struct Streams {
    left: VecDeque<(usize, Receiver<Message>)>,
    budget: Arc<Budget>,
}

impl Streams {
    /// The next blob's stream. All but [`LANES`] less one of those before are to
    /// be finished.
    pub(crate) fn next_stream(&mut self) -> Option<LayerStream> {
        let (number, messages) = self.left.pop_front()?;
        self.budget.begin(number);
        Some(LayerStream {
            messages,
            chunk: None,
            position: 0,
            end: None,
        })
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.budget.stop();
    }
}

/// A layer's tar stream, inflated ahead.
pub(crate) struct LayerStream {
    messages: Receiver<Message>,
    chunk: Option<Arc<Chunk>>,
    /// Bytes of the chunk that were consumed.
    position: usize,
    end: Option<Result<StreamDigests, StreamError>>,
}

impl LayerStream {
    /// Reads what is left and answers what the whole stream was.
    pub(crate) fn finish(mut self) -> Result<StreamDigests, StreamError> {
        loop {
            if let Some(end) = self.end.take() {
                return end;
            }
            self.receive();
        }
    }

    /// Why the stream ended early, if it did.
    pub(crate) fn take_failure(&mut self) -> Option<StreamError> {
        self.end.take_if(|end| end.is_err())?.err()
    }

    fn receive(&mut self) {
        self.position = 0;
        self.chunk = None;
        match self.messages.recv() {
            Ok(Message::Data(chunk)) => self.chunk = Some(chunk),
            Ok(Message::End(digests)) => self.end = Some(Ok(digests)),
            Ok(Message::Failed(error)) => self.end = Some(Err(error)),
            Err(_) => {
                let ended = io::Error::other("its thread ended");
                self.end = Some(Err(StreamError::Read(ended)));
            }
        }
    }
}

impl BufRead for LayerStream {
    /// Fails where the stream failed; [`Self::take_failure`] says why.
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let used_up = |chunk: &Arc<Chunk>| chunk.length <= self.position;
        if self.end.is_none() && self.chunk.as_ref().is_none_or(used_up) {
            self.receive();
        }
        match (&self.chunk, &self.end) {
            (Some(chunk), _) => Ok(&chunk.filled()[self.position..]),
            (None, Some(Err(_))) => Err(io::ErrorKind::Other.into()),
            (None, _) => Ok(&[]),
        }
    }

    fn consume(&mut self, amount: usize) {
        self.position += amount;
    }
}

impl Read for LayerStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(buffer.len());
        buffer[..length].copy_from_slice(&available[..length]);
        self.consume(length);
        Ok(length)
    }
}
