//! What is on disks of images, and images as archives.
//!
//! Invariants: a disk is read as its client takes it, by a thread that ends soon after
//! the client is gone; so each caller has only so many at a time. Entry points:
//! [`Readings`].

use std::{fs::File, os::fd::OwnedFd, pin::Pin, sync::Arc};

use banger_api::v1::{
    DiffImagesRequest, DiffImagesResponse, ListImageFilesRequest, ListImageFilesResponse,
    ReadImageFileRequest, ReadImageFileResponse, ReadImageFileStart, SaveImageEnd,
    SaveImageRequest, SaveImageResponse, read_image_file_response::Piece as Read,
    save_image_response::Piece as Saved,
};
use banger_core::{
    disk::{Difference, DiskEntry},
    domain::{Digest, Selector},
    image::{DiskStream, ListImageFiles, SaveError, SaveOutput, SaveRequest, SavedImage},
};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, stream};
use sha2::{Digest as _, Sha256};
use tokio::{io::AsyncReadExt as _, net::unix::pipe};
use tonic::Status;

use super::image::find;
use crate::{
    backend::Hub,
    call::load::{Counted, Load},
    caller::Caller,
    convert::image_disk as convert,
    fault::Fault,
    request::{Checks, name::IMAGES},
};

/// Most bytes of one message.
const MAX_PIECE: usize = 65_536;
/// Bytes of a message for each of what it lists, beside paths.
const OVERHEAD: usize = 64;
/// Disks that one caller reads at a time.
const MAX_READINGS: u32 = 16;

/// A stream of answers.
pub(crate) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Reads disks for callers.
#[derive(Debug)]
pub(crate) struct Readings(Load);

impl Default for Readings {
    fn default() -> Self {
        Self(Load::new(MAX_READINGS))
    }
}

/// The image that a request means, by its id: another of its name is not read on.
async fn image(hub: &Hub, field: &str, name: &str, mut checks: Checks) -> Result<Selector, Fault> {
    IMAGES.id(field, name, &mut checks);
    checks.finish()?;
    let id = name.strip_prefix("images/").unwrap_or_default();
    Ok(find(hub, id).await?.id.into())
}

impl Readings {
    pub(super) async fn list(
        &self,
        hub: &Hub,
        caller: &Caller,
        request: ListImageFilesRequest,
    ) -> Result<Answers<ListImageFilesResponse>, Fault> {
        let image = image(hub, "name", &request.name, Checks::default()).await?;
        let counted = self.0.count(caller)?;
        let wanted = ListImageFiles {
            path: request.path.into(),
            recursive: request.recursive,
            after: request.after_path.into(),
        };
        let listing = hub.backend.images.list_files(&image, wanted).await?;
        let size = |entry: &DiskEntry| entry.path.len() + entry.target.as_ref().map_or(0, Vec::len);
        let batches = Batches::new(listing, size, counted);
        let answers = stream::try_unfold(batches, |mut batches| async {
            let Some(batch) = batches.next().await? else {
                return Ok(None);
            };
            let files = batch.into_iter().map(convert::file).collect();
            Ok(Some((ListImageFilesResponse { files }, batches)))
        });
        Ok(Box::pin(answers))
    }

    pub(super) async fn diff(
        &self,
        hub: &Hub,
        caller: &Caller,
        request: DiffImagesRequest,
    ) -> Result<Answers<DiffImagesResponse>, Fault> {
        let mut checks = Checks::default();
        IMAGES.id("other_name", &request.other_name, &mut checks);
        let one = image(hub, "name", &request.name, checks).await?;
        let other = image(hub, "other_name", &request.other_name, Checks::default()).await?;
        let counted = self.0.count(caller)?;
        let images = &hub.backend.images;
        let comparing = images.diff(&one, &other, request.after_path.into()).await?;
        let batches = Batches::new(comparing, |one: &Difference| one.path.len(), counted);
        let answers = stream::try_unfold(batches, |mut batches| async {
            let Some(batch) = batches.next().await? else {
                return Ok(None);
            };
            let differences = batch.into_iter().map(convert::difference).collect();
            Ok(Some((DiffImagesResponse { differences }, batches)))
        });
        Ok(Box::pin(answers))
    }

    pub(super) async fn read(
        &self,
        hub: &Hub,
        caller: &Caller,
        request: ReadImageFileRequest,
    ) -> Result<Answers<ReadImageFileResponse>, Fault> {
        let image = image(hub, "name", &request.name, Checks::default()).await?;
        let counted = self.0.count(caller)?;
        let (path, offset) = (request.path.into(), request.offset_bytes);
        let file = hub.backend.images.read_file(&image, path, offset).await?;
        let start = ReadImageFileStart {
            size_bytes: file.size,
            disk_version: file.disk_version,
        };
        let told = |piece| ReadImageFileResponse { piece: Some(piece) };
        let state = (Some(start), file.content, counted);
        let answers = stream::try_unfold(state, move |(start, mut content, counted)| async move {
            if let Some(start) = start {
                return Ok(Some((told(Read::Start(start)), (None, content, counted))));
            }
            let piece = content.next().await.map_err(Fault::from)?;
            Ok(piece.map(|piece| (told(Read::Data(piece)), (None, content, counted))))
        });
        Ok(Box::pin(answers))
    }

    pub(super) async fn save(
        &self,
        hub: &Hub,
        caller: &Caller,
        request: SaveImageRequest,
    ) -> Result<Answers<SaveImageResponse>, Fault> {
        let mut checks = Checks::default();
        let format = convert::format(request.format());
        if format.is_none() {
            checks.violated("format", "is missing or unknown");
        }
        let image = image(hub, "name", &request.name, checks).await?;
        // it is there, or the checks had not finished
        let format = format.ok_or_else(|| Fault::invalid(Vec::new()))?;
        let counted = self.0.count(caller)?;
        let (output, input) = std::io::pipe().map_err(SaveError::Output)?;
        let output = pipe::Receiver::from_owned_fd(output.into()).map_err(SaveError::Output)?;
        let wanted = SaveRequest {
            format,
            output: SaveOutput::Stream(Arc::new(File::from(OwnedFd::from(input)))),
        };
        let images = Arc::clone(&hub.backend.images);
        let archive = Archive {
            saving: Some(Box::pin(async move { images.save(&image, wanted).await })),
            saved: None,
            output,
            hasher: Sha256::new(),
            length: 0,
            offset: request.offset_bytes,
            _counted: counted,
        };
        let answers = stream::try_unfold(Some(archive), |archive| async {
            let Some(mut archive) = archive else {
                return Ok(None);
            };
            let piece = archive.next().await?;
            let left = matches!(piece, Saved::Data(_)).then_some(archive);
            Ok(Some((SaveImageResponse { piece: Some(piece) }, left)))
        });
        Ok(Box::pin(answers))
    }
}

/// What is listed, as much at once as is there already and fits into a message.
struct Batches<T> {
    stream: DiskStream<T>,
    /// The one that did not fit into the message before.
    left: Option<T>,
    size: fn(&T) -> usize,
    _counted: Counted,
}

impl<T> Batches<T> {
    const fn new(stream: DiskStream<T>, size: fn(&T) -> usize, counted: Counted) -> Self {
        Self {
            stream,
            left: None,
            size,
            _counted: counted,
        }
    }

    async fn next(&mut self) -> Result<Option<Vec<T>>, Fault> {
        let first = match self.left.take() {
            Some(left) => Some(left),
            None => self.stream.next().await?,
        };
        let Some(first) = first else {
            return Ok(None);
        };
        let size = |one: &T| (self.size)(one) + OVERHEAD;
        let mut bytes = size(&first);
        let mut batch = vec![first];
        while let Some(one) = self.stream.ready() {
            bytes += size(&one);
            if MAX_PIECE < bytes {
                self.left = Some(one);
                break;
            }
            batch.push(one);
        }
        Ok(Some(batch))
    }
}

type Writing = Pin<Box<dyn Future<Output = Result<SavedImage, SaveError>> + Send>>;

/// An image on its way out through a pipe.
struct Archive {
    /// What writes it; none once that is over.
    saving: Option<Writing>,
    saved: Option<SavedImage>,
    output: pipe::Receiver,
    hasher: Sha256,
    /// Bytes that came through the pipe.
    length: u64,
    /// Bytes that are not sent.
    offset: u64,
    _counted: Counted,
}

impl Archive {
    async fn next(&mut self) -> Result<Saved, Fault> {
        loop {
            let piece = self.piece().await?;
            if piece.is_empty() {
                return self.end();
            }
            self.hasher.update(&piece);
            let skipped = self.offset.saturating_sub(self.length);
            self.length += piece.len() as u64;
            let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
            if skipped < piece.len() {
                return Ok(Saved::Data(piece.slice(skipped..)));
            }
        }
    }

    /// The next bytes; none when all came and nobody writes any more.
    async fn piece(&mut self) -> Result<Bytes, SaveError> {
        let mut buffer = BytesMut::with_capacity(MAX_PIECE);
        loop {
            let Some(saving) = &mut self.saving else {
                self.output
                    .read_buf(&mut buffer)
                    .await
                    .map_err(SaveError::Output)?;
                return Ok(buffer.freeze());
            };
            tokio::select! {
                saved = saving => {
                    self.saving = None;
                    self.saved = Some(saved?);
                }
                read = self.output.read_buf(&mut buffer) => {
                    // an end that nobody explained yet is explained above
                    if read.map_err(SaveError::Output)? != 0 {
                        return Ok(buffer.freeze());
                    }
                    let saving = self.saving.take();
                    if let Some(saving) = saving {
                        self.saved = Some(saving.await?);
                    }
                    return Ok(Bytes::new());
                }
            }
        }
    }

    fn end(&mut self) -> Result<Saved, Fault> {
        // it is there once nobody writes any more
        let saved = self.saved.take().ok_or(SaveError::Cancelled)?;
        let digest: [u8; 32] = self.hasher.finalize_reset().into();
        Ok(Saved::End(SaveImageEnd {
            size_bytes: self.length,
            archive_digest: Digest::from_bytes(digest).to_string(),
            digest: saved.digest.to_string(),
            sockets_left_out: saved.sockets,
        }))
    }
}
