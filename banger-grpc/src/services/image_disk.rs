//! What is on disks of images, and images as archives.
//!
//! Invariants: a disk is read as its client takes it, by a thread that ends soon after
//! the client is gone; so each caller has only so many at a time. Entry points:
//! [`Readings`].

use std::{pin::Pin, sync::Arc};

use banger_api::v1::{
    DiffImagesRequest, DiffImagesResponse, ImageArchiveFormat, ListImageFilesRequest,
    ListImageFilesResponse, ReadImageFileRequest, ReadImageFileResponse, ReadImageFileStart,
    SaveImageEnd, SaveImageRequest, SaveImageResponse, read_image_file_response::Piece as Read,
    save_image_response::Piece as Saved,
};
use banger_core::{
    bundle::Written,
    disk::{Difference, DiskEntry},
    domain::{Digest, Selector},
    image::{BundleImageRequest, DiskStream, ListImageFiles, SaveRequest, SavedImage},
};
use futures_util::{Stream, StreamExt as _, stream};
use tonic::Status;

use super::{
    image::find,
    outgoing::{Piece, send},
};
use crate::{
    backend::Hub,
    call::load::{Counted, Load},
    caller::Caller,
    convert::image_disk as convert,
    fault::Fault,
    request::{Checks, name::IMAGES},
};

/// Most bytes of one message.
pub(super) const MAX_PIECE: usize = 65_536;
/// Bytes of a message for each of what it lists, beside paths.
const OVERHEAD: usize = 64;
/// Disks that one caller reads at a time.
const MAX_READINGS: u32 = 16;

/// A stream of answers.
pub(crate) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Reads disks for callers. Clones count together.
#[derive(Clone, Debug)]
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
        let form = request.format();
        if form == ImageArchiveFormat::Unspecified {
            checks.violated("format", "is missing or unknown");
        }
        if request.without_kernel && form != ImageArchiveFormat::Bundle {
            checks.violated("without_kernel", "is for bundles alone");
        }
        let image = image(hub, "name", &request.name, checks).await?;
        let counted = self.count(caller)?;
        let images = Arc::clone(&hub.backend.images);
        let format = convert::format(form);
        let pieces = send(
            counted,
            request.offset_bytes,
            move |output, events| async move {
                if let Some(format) = format {
                    let wanted = SaveRequest { format, output };
                    let saved = images.save(&image, wanted).await?;
                    return Ok(Made::from(saved));
                }
                let wanted = BundleImageRequest {
                    image,
                    target: output,
                    with_kernel: !request.without_kernel,
                };
                Ok(Made::from(images.bundle(wanted, &events).await?))
            },
        )?;
        Ok(Box::pin(pieces.map(|piece| {
            let piece = match piece? {
                Piece::Data(data) => Saved::Data(data),
                Piece::Progress(progress) => Saved::Progress(progress),
                Piece::End(size_bytes, archive_digest, made) => Saved::End(SaveImageEnd {
                    size_bytes,
                    archive_digest: archive_digest.to_string(),
                    digest: made.digest.to_string(),
                    sockets_left_out: made.sockets,
                    unpacked_bytes: made.unpacked,
                }),
            };
            Ok(SaveImageResponse { piece: Some(piece) })
        })))
    }

    /// Counts a disk that is read, unless the caller reads too many.
    pub(super) fn count(&self, caller: &Caller) -> Result<Counted, Fault> {
        self.0.count(caller)
    }
}

/// What is told of an archive at its end.
struct Made {
    digest: Digest,
    sockets: u64,
    unpacked: u64,
}

impl From<SavedImage> for Made {
    fn from(saved: SavedImage) -> Self {
        Self {
            digest: saved.digest,
            sockets: saved.sockets,
            unpacked: 0,
        }
    }
}

impl From<Written> for Made {
    fn from(written: Written) -> Self {
        Self {
            digest: written.sha256,
            sockets: 0,
            unpacked: written.unpacked.get(),
        }
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
