//! Images of a server as archives on this host.
//!
//! Invariants: a file appears whole, or not at all; what was put together from several
//! streams is what one would have been, or an error.

use std::io::Write;

use banger_api::v1::{
    ImageArchiveFormat, SaveImageEnd, SaveImageRequest, SaveImageResponse,
    save_image_response::Piece,
};
use banger_core::{
    domain::{Bytes, Image, ImageName},
    image::{SaveError, SaveFormat, SaveRequest, SavedImage, write_archive},
};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tonic::{Response, Status, Streaming};

use super::{
    Server,
    cut::{Reading, pass_on},
    errors::FromServer as _,
    records,
};
use crate::{Client, Failure};

/// Pieces that may wait.
const QUEUE: usize = 4;

struct Archive(SaveImageRequest);

impl Reading for Archive {
    type Answer = SaveImageResponse;
    type Piece = Piece;
    type Error = SaveError;

    async fn open(&self, client: &Client) -> Result<Response<Streaming<Self::Answer>>, Status> {
        client.images().save_image(self.0.clone()).await
    }

    fn take(&mut self, answer: Self::Answer) -> Result<Vec<Piece>, SaveError> {
        if let Some(Piece::Data(data)) = &answer.piece {
            self.0.offset_bytes += data.len() as u64;
        }
        Ok(answer.piece.into_iter().collect())
    }
}

const fn format(format: SaveFormat) -> ImageArchiveFormat {
    match format {
        SaveFormat::OciArchive => ImageArchiveFormat::Oci,
        SaveFormat::DockerArchive => ImageArchiveFormat::Docker,
        SaveFormat::RootfsTar => ImageArchiveFormat::RootfsTar,
    }
}

impl Server {
    pub(super) async fn save(
        &self,
        image: Image,
        request: SaveRequest,
    ) -> Result<SavedImage, SaveError> {
        let archive = Archive(SaveImageRequest {
            name: format!("images/{}", image.id),
            format: format(request.format).into(),
            offset_bytes: 0,
        });
        let (sender, pieces) = mpsc::channel(QUEUE);
        let name = image.name.clone();
        let writing = self.tasks.spawn_blocking(move || {
            let write = |writer: &mut dyn Write| write(pieces, &name, writer);
            write_archive(&request.output, &name, write)
        });
        let (read, written) = tokio::join!(pass_on(self.clone(), archive, sender), writing);
        let end = match written {
            // nothing came any more, which whoever read can explain
            Ok(Err(SaveError::Cancelled)) => {
                read?;
                return Err(SaveError::from_server(Failure::cut()));
            }
            Ok(written) => written?,
            Err(error) => match error.try_into_panic() {
                Ok(cause) => std::panic::resume_unwind(cause),
                // the runtime ends: this future is not polled again
                Err(_) => std::future::pending().await,
            },
        };
        let what = image.name.to_string();
        let digest = records::digest(&what, &end.digest).map_err(SaveError::from_server)?;
        Ok(SavedImage {
            image,
            size: Bytes::new(end.size_bytes),
            digest,
            sockets: end.sockets_left_out,
        })
    }
}

/// Writes what comes, up to the end that it must have.
fn write(
    mut pieces: mpsc::Receiver<Piece>,
    image: &ImageName,
    writer: &mut dyn Write,
) -> Result<SaveImageEnd, SaveError> {
    let (mut hasher, mut length) = (Sha256::new(), 0);
    while let Some(piece) = pieces.blocking_recv() {
        match piece {
            Piece::Data(data) => {
                writer.write_all(&data).map_err(SaveError::Output)?;
                hasher.update(&data);
                length += data.len() as u64;
            }
            Piece::End(end) => {
                let digest: [u8; 32] = hasher.finalize().into();
                let digest = banger_core::domain::Digest::from_bytes(digest);
                if length != end.size_bytes || digest.to_string() != end.archive_digest {
                    let name = image.clone();
                    return Err(SaveError::Changed { name });
                }
                return Ok(end);
            }
        }
    }
    Err(SaveError::Cancelled)
}
