//! What is on an image's disk, as streams.
//!
//! Invariants: a disk is read as it is taken, by a thread of its own that ends soon
//! after nobody takes any more; what is held is bounded, whatever is on the disk.
//! Entry points: [`DiskStream`], [`ListImageFiles`], [`ImageFile`].

use std::os::unix::fs::MetadataExt as _;

use bytes::Bytes;
use camino::Utf8PathBuf;
use tokio::{
    sync::{mpsc, oneshot},
    task::{JoinHandle, spawn_blocking},
};

use super::{ImageQueryError, LocalImageManager};
use crate::{
    ErrorKind,
    disk::{Difference, DiskEntry, DiskError, DiskReader, WalkOptions, compare},
    domain::{ImageName, Selector},
    remote::RemoteError,
    task::{off_thread, settle},
};

/// Entries and differences that may wait.
const QUEUE: usize = 256;
/// Pieces of a file that may wait.
const PIECES: usize = 4;
/// Most bytes of a piece.
const PIECE: usize = 65_536;

/// What is to be listed of an image's disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListImageFiles {
    /// The path: what is in a directory is listed, anything else alone.
    pub path: Vec<u8>,
    /// All that is below it.
    pub recursive: bool,
    /// Only what comes after this path by its bytes.
    pub after: Vec<u8>,
}

/// What is on a disk, one after the other. Dropping it ends the reading.
#[derive(Debug)]
pub struct DiskStream<T> {
    pieces: mpsc::Receiver<T>,
    /// Who reads, until it was heard how that ended.
    reading: Option<JoinHandle<Result<(), ReadImageError>>>,
}

impl<T> DiskStream<T> {
    /// What `reading` sends. It has to end soon after nobody takes any more.
    #[must_use]
    pub const fn new(
        pieces: mpsc::Receiver<T>,
        reading: JoinHandle<Result<(), ReadImageError>>,
    ) -> Self {
        Self {
            pieces,
            reading: Some(reading),
        }
    }

    /// The next one; none when there are no more. Cancelling loses none. An error is the
    /// last one.
    pub async fn next(&mut self) -> Result<Option<T>, ReadImageError> {
        if let Some(piece) = self.pieces.recv().await {
            return Ok(Some(piece));
        }
        let Some(reading) = &mut self.reading else {
            return Ok(None);
        };
        let ended = settle(reading).await;
        self.reading = None;
        ended.map(|()| None)
    }

    /// The next one that is there already.
    pub fn ready(&mut self) -> Option<T> {
        self.pieces.try_recv().ok()
    }
}

/// A file on an image's disk.
#[derive(Debug)]
pub struct ImageFile {
    /// The length of the whole file.
    pub size: u64,
    /// Changes when the disk does.
    pub disk_version: String,
    /// Its bytes from where it was to begin.
    pub content: DiskStream<Bytes>,
}

/// An image's disk could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadImageError {
    /// The image could not be looked up.
    #[error(transparent)]
    Query(#[from] ImageQueryError),
    /// The disk cannot be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Somebody wrote to the disk meanwhile.
    #[error("the root disk of image {name} was changed while it was read")]
    Changed {
        /// The image.
        name: ImageName,
    },
    /// What a server said.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl ReadImageError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Query(error) => error.kind(),
            Self::Disk(error) => error.kind(),
            Self::Changed { .. } => ErrorKind::Conflict,
            Self::Remote(error) => error.kind(),
        }
    }
}

async fn disk(
    manager: &LocalImageManager,
    image: &Selector,
) -> Result<Utf8PathBuf, ReadImageError> {
    Ok(manager.find(image).await?.rootfs)
}

/// Reads on a thread of its own.
fn reading<T: Send + 'static>(
    queue: usize,
    work: impl FnOnce(&mpsc::Sender<T>) -> Result<(), DiskError> + Send + 'static,
) -> DiskStream<T> {
    let (sender, pieces) = mpsc::channel(queue);
    let reading = spawn_blocking(move || Ok(work(&sender)?));
    DiskStream::new(pieces, reading)
}

pub(super) async fn list(
    manager: &LocalImageManager,
    image: &Selector,
    request: ListImageFiles,
) -> Result<DiskStream<DiskEntry>, ReadImageError> {
    let disk = disk(manager, image).await?;
    Ok(reading(QUEUE, move |sender| {
        let reader = DiskReader::open(&disk)?;
        let options = WalkOptions {
            recursive: request.recursive,
            after: request.after,
        };
        for entry in reader.walk(&request.path, options)? {
            if sender.blocking_send(entry?).is_err() {
                break;
            }
        }
        Ok(())
    }))
}

pub(super) async fn diff(
    manager: &LocalImageManager,
    (one, other): (&Selector, &Selector),
    after: Vec<u8>,
) -> Result<DiskStream<Difference>, ReadImageError> {
    let (one, other) = (disk(manager, one).await?, disk(manager, other).await?);
    Ok(reading(QUEUE, move |sender| {
        let (one, other) = (DiskReader::open(&one)?, DiskReader::open(&other)?);
        compare((&one, &other), &after, &|| sender.is_closed(), |found| {
            // whoever is gone has given it up
            drop(sender.blocking_send(found));
        })
    }))
}

pub(super) async fn read(
    manager: &LocalImageManager,
    image: &Selector,
    path: Vec<u8>,
    offset: u64,
) -> Result<ImageFile, ReadImageError> {
    let disk = disk(manager, image).await?;
    let looked_at = disk.clone();
    let disk_version = off_thread(move || version(&looked_at)).await?;
    let (begun, size) = oneshot::channel();
    let mut content = reading(PIECES, move |sender| {
        let reader = DiskReader::open(&disk)?;
        let mut file = reader.open_file(&path)?;
        file.seek(offset)?;
        // whoever is gone takes no piece either
        begun.send(file.size()).ok();
        let mut buffer = vec![0; PIECE];
        loop {
            let read = file.read(&mut buffer)?;
            let piece = Bytes::copy_from_slice(&buffer[..read]);
            if read == 0 || sender.blocking_send(piece).is_err() {
                return Ok(());
            }
        }
    });
    let size = match size.await {
        Ok(size) => size,
        // it failed before there was a piece
        Err(_) => content.next().await.map(|_| 0)?,
    };
    Ok(ImageFile {
        size,
        disk_version,
        content,
    })
}

/// What differs once somebody wrote to a disk.
fn version(disk: &Utf8PathBuf) -> Result<String, DiskError> {
    let metadata = disk.metadata().map_err(|source| DiskError::Io {
        disk: disk.clone(),
        source,
    })?;
    let (length, inode) = (metadata.len(), metadata.ino());
    let (seconds, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
    Ok(format!("{inode}-{length}-{seconds}.{nanoseconds:09}"))
}
