//! Images and kernels of a server as archives and bundles on this host.

use std::marker::PhantomData;

use banger_api::v1::{
    ImageArchiveFormat, SaveImageEnd, SaveImageRequest, SaveImageResponse, SaveKernelEnd,
    SaveKernelRequest, SaveKernelResponse, save_image_response::Piece as OfImage,
    save_kernel_response::Piece as OfKernel,
};
use banger_core::{
    bundle::{BundleError, Written},
    domain::{Bytes, Image, KernelName},
    host_fs::Output,
    image::{BundleImageError, BundleImageRequest, SaveError, SaveFormat, SaveRequest, SavedImage},
    kernel::BundleKernelError,
    progress::{NoProgress, ProgressSink},
};
use tonic::{Response, Status, Streaming};

use super::{
    Server,
    cut::Reading,
    errors::FromServer,
    incoming::{Most, Part, Unwritten},
    records,
};
use crate::{Client, Failure};

/// An image on its way, for something that fails in its own way.
struct OneImage<E> {
    request: SaveImageRequest,
    most: Most,
    fails: PhantomData<fn() -> E>,
}

impl<E> Reading for OneImage<E>
where
    E: FromServer + Send + 'static,
{
    type Answer = SaveImageResponse;
    type Piece = Part<SaveImageEnd>;
    type Error = E;

    async fn open(&self, client: &Client) -> Result<Response<Streaming<Self::Answer>>, Status> {
        client.images().save_image(self.request.clone()).await
    }

    fn take(&mut self, answer: Self::Answer) -> Result<Vec<Self::Piece>, E> {
        let part = answer.piece.map(|piece| match piece {
            OfImage::Data(data) => {
                self.request.offset_bytes += data.len() as u64;
                Some(Part::Data(data))
            }
            OfImage::Progress(progress) => self.most.part(progress),
            OfImage::End(end) => Some(Part::End(end.size_bytes, end.archive_digest.clone(), end)),
        });
        Ok(part.flatten().into_iter().collect())
    }
}

struct OneKernel {
    request: SaveKernelRequest,
    most: Most,
}

impl Reading for OneKernel {
    type Answer = SaveKernelResponse;
    type Piece = Part<SaveKernelEnd>;
    type Error = BundleKernelError;

    async fn open(&self, client: &Client) -> Result<Response<Streaming<Self::Answer>>, Status> {
        client.kernels().save_kernel(self.request.clone()).await
    }

    fn take(&mut self, answer: Self::Answer) -> Result<Vec<Self::Piece>, BundleKernelError> {
        let part = answer.piece.map(|piece| match piece {
            OfKernel::Data(data) => {
                self.request.offset_bytes += data.len() as u64;
                Some(Part::Data(data))
            }
            OfKernel::Progress(progress) => self.most.part(progress),
            OfKernel::End(end) => Some(Part::End(end.size_bytes, end.archive_digest.clone(), end)),
        });
        Ok(part.flatten().into_iter().collect())
    }
}

const fn format(format: SaveFormat) -> ImageArchiveFormat {
    match format {
        SaveFormat::OciArchive => ImageArchiveFormat::Oci,
        SaveFormat::DockerArchive => ImageArchiveFormat::Docker,
        SaveFormat::RootfsTar => ImageArchiveFormat::RootfsTar,
    }
}

/// Why a bundle was not written.
fn unwritten(target: &Output, unwritten: Unwritten) -> BundleError {
    match unwritten {
        Unwritten::Output(problem) => BundleError::of_output(target, problem),
        Unwritten::Changed => BundleError::changed(target, target.path()),
        Unwritten::Cut => BundleError::Cancelled,
    }
}

impl Server {
    pub(super) async fn save(
        &self,
        image: Image,
        request: SaveRequest,
    ) -> Result<SavedImage, SaveError> {
        let archive = OneImage {
            request: SaveImageRequest {
                name: format!("images/{}", image.id),
                format: format(request.format).into(),
                ..SaveImageRequest::default()
            },
            most: Most::default(),
            fails: PhantomData,
        };
        let name = image.name.clone();
        let failed = |unwritten| match unwritten {
            Unwritten::Output(problem) => SaveError::of_output(&name, problem),
            Unwritten::Changed => SaveError::Changed { name: name.clone() },
            Unwritten::Cut => SaveError::Cancelled,
        };
        let brought = self.bring(archive, request.output, &NoProgress, failed);
        let end: SaveImageEnd = brought.await?;
        let digest = records::digest(name.as_str(), &end.digest);
        Ok(SavedImage {
            image,
            size: Bytes::new(end.size_bytes),
            digest: digest.map_err(SaveError::from_server)?,
            sockets: end.sockets_left_out,
        })
    }

    pub(super) async fn bundle_image(
        &self,
        image: Image,
        request: BundleImageRequest,
        progress: &dyn ProgressSink,
    ) -> Result<Written, BundleImageError> {
        let bundle = OneImage {
            request: SaveImageRequest {
                name: format!("images/{}", image.id),
                format: ImageArchiveFormat::Bundle.into(),
                without_kernel: !request.with_kernel,
                ..SaveImageRequest::default()
            },
            most: Most::default(),
            fails: PhantomData,
        };
        let target = request.target;
        let failed = |problem| {
            let error = unwritten(&target, problem);
            BundleImageError::of_bundle(image.name.clone(), &target, error)
        };
        let brought = self.bring(bundle, target.clone(), progress, failed);
        let end: SaveImageEnd = brought.await?;
        let sizes = (end.size_bytes, end.unpacked_bytes);
        let written = written(image.name.as_str(), &end.archive_digest, sizes);
        written.map_err(BundleImageError::from_server)
    }

    pub(super) async fn bundle_kernel(
        &self,
        name: &KernelName,
        target: Output,
        progress: &dyn ProgressSink,
    ) -> Result<Written, BundleKernelError> {
        let bundle = OneKernel {
            request: SaveKernelRequest {
                name: format!("kernels/{name}"),
                ..SaveKernelRequest::default()
            },
            most: Most::default(),
        };
        let failed = |problem| {
            let error = unwritten(&target, problem);
            BundleKernelError::of_bundle(name.clone(), &target, error)
        };
        let brought = self.bring(bundle, target.clone(), progress, failed);
        let end: SaveKernelEnd = brought.await?;
        let sizes = (end.size_bytes, end.unpacked_bytes);
        let written = written(name.as_str(), &end.archive_digest, sizes);
        written.map_err(BundleKernelError::from_server)
    }
}

fn written(what: &str, digest: &str, (size, unpacked): (u64, u64)) -> Result<Written, Failure> {
    Ok(Written {
        sha256: records::digest(what, digest)?,
        size: Bytes::new(size),
        unpacked: Bytes::new(unpacked),
    })
}
