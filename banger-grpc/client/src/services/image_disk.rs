//! What is on the disks of a server's images.

use banger_api::v1::{
    DiffImagesRequest, DiffImagesResponse, ListImageFilesRequest, ListImageFilesResponse,
    ReadImageFileRequest, ReadImageFileResponse, read_image_file_response::Piece,
};
use banger_core::{
    disk::{Difference, DiskEntry},
    domain::{Image, ImageName},
    image::{DiskStream, ImageFile, ListImageFiles, ReadImageError},
};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tonic::{Response, Status, Streaming};

use super::{
    Server,
    cut::{Reading, pass_on},
    errors::FromServer as _,
    records,
};
use crate::{Client, Failure};

/// Pieces of a file that may wait.
const PIECES: usize = 2;
/// Entries and differences that may wait.
const QUEUE: usize = 256;

fn named(image: &Image) -> String {
    format!("images/{}", image.id)
}

impl Server {
    fn stream<R>(&self, reading: R, queue: usize) -> DiskStream<R::Piece>
    where
        R: Reading<Error = ReadImageError> + Sync,
    {
        let (sender, pieces) = mpsc::channel(queue);
        let task = self.tasks.spawn(pass_on(self.clone(), reading, sender));
        DiskStream::new(pieces, task)
    }

    pub(super) fn list_files(
        &self,
        image: &Image,
        request: ListImageFiles,
    ) -> DiskStream<DiskEntry> {
        let listing = Listing(ListImageFilesRequest {
            name: named(image),
            path: request.path.into(),
            recursive: request.recursive,
            after_path: request.after.into(),
        });
        self.stream(listing, QUEUE)
    }

    pub(super) fn diff(
        &self,
        one: &Image,
        other: &Image,
        after: Vec<u8>,
    ) -> DiskStream<Difference> {
        let comparing = Comparing(DiffImagesRequest {
            name: named(one),
            other_name: named(other),
            after_path: after.into(),
        });
        self.stream(comparing, QUEUE)
    }

    pub(super) async fn read_file(
        &self,
        image: &Image,
        path: Vec<u8>,
        offset: u64,
    ) -> Result<ImageFile, ReadImageError> {
        let (begun, size) = oneshot::channel();
        let content = FileReading {
            request: ReadImageFileRequest {
                name: named(image),
                path: path.into(),
                offset_bytes: offset,
            },
            image: image.name.clone(),
            begun: Some(begun),
            disk_version: None,
        };
        let mut content = self.stream(content, PIECES);
        let Ok((size, disk_version)) = size.await else {
            // it failed before it began
            content.next().await?;
            return Err(ReadImageError::from_server(Failure::cut()));
        };
        Ok(ImageFile {
            size,
            disk_version,
            content,
        })
    }
}

struct Listing(ListImageFilesRequest);

impl Reading for Listing {
    type Answer = ListImageFilesResponse;
    type Piece = DiskEntry;
    type Error = ReadImageError;

    async fn open(&self, client: &Client) -> Result<Response<Streaming<Self::Answer>>, Status> {
        client.images().list_image_files(self.0.clone()).await
    }

    fn take(&mut self, answer: Self::Answer) -> Result<Vec<DiskEntry>, ReadImageError> {
        if let Some(last) = answer.files.last() {
            self.0.after_path = last.path.clone();
        }
        let entries = answer.files.into_iter().map(records::disk_entry);
        let entries: Result<_, Failure> = entries.collect();
        entries.map_err(ReadImageError::from_server)
    }
}

struct Comparing(DiffImagesRequest);

impl Reading for Comparing {
    type Answer = DiffImagesResponse;
    type Piece = Difference;
    type Error = ReadImageError;

    async fn open(&self, client: &Client) -> Result<Response<Streaming<Self::Answer>>, Status> {
        client.images().diff_images(self.0.clone()).await
    }

    fn take(&mut self, answer: Self::Answer) -> Result<Vec<Difference>, ReadImageError> {
        if let Some(last) = answer.differences.last() {
            self.0.after_path = last.path.clone();
        }
        let found = answer.differences.into_iter().map(records::difference);
        let found: Result<_, Failure> = found.collect();
        found.map_err(ReadImageError::from_server)
    }
}

struct FileReading {
    request: ReadImageFileRequest,
    image: ImageName,
    /// Who waits to hear how long the file is.
    begun: Option<oneshot::Sender<(u64, String)>>,
    /// That of the first stream.
    disk_version: Option<String>,
}

impl Reading for FileReading {
    type Answer = ReadImageFileResponse;
    type Piece = Bytes;
    type Error = ReadImageError;

    async fn open(&self, client: &Client) -> Result<Response<Streaming<Self::Answer>>, Status> {
        client.images().read_image_file(self.request.clone()).await
    }

    fn take(&mut self, answer: Self::Answer) -> Result<Vec<Bytes>, ReadImageError> {
        match answer.piece {
            Some(Piece::Data(data)) => {
                self.request.offset_bytes += data.len() as u64;
                Ok(vec![data])
            }
            Some(Piece::Start(start)) => {
                let first = self.disk_version.get_or_insert(start.disk_version.clone());
                if *first != start.disk_version {
                    let name = self.image.clone();
                    return Err(ReadImageError::Changed { name });
                }
                if let Some(begun) = self.begun.take() {
                    // whoever is gone takes no piece either
                    drop(begun.send((start.size_bytes, start.disk_version)));
                }
                Ok(Vec::new())
            }
            None => Ok(Vec::new()),
        }
    }
}
