//! Images in an OCI layout inside a tar file, as skopeo's `oci-archive:`.
//!
//! Invariants: as of layouts; blobs are read in place. Of members of one name
//! the last counts, as where the archive is unpacked.

use async_trait::async_trait;
use tokio::sync::OnceCell;

use super::{
    ImageSource, LayerBlob, LayerDescriptor, OciArchiveReference, Platform, ResolvedImage,
    SourceError, SourceOptions, archive_file::ArchiveFile, layout::LayoutSource,
    layout_files::ArchivedFiles, members::Duplicates,
};
use crate::{progress::ProgressSink, task::attended};

/// An image in an archive of a layout.
#[derive(Debug)]
pub(super) struct OciArchiveSource {
    reference: OciArchiveReference,
    archive: ArchiveFile,
    layout: OnceCell<LayoutSource>,
}

impl OciArchiveSource {
    pub(super) fn new(reference: &OciArchiveReference, options: &SourceOptions) -> Self {
        Self {
            archive: ArchiveFile::new(reference.to_string(), reference.file(), options),
            reference: reference.clone(),
            layout: OnceCell::new(),
        }
    }

    /// The layout, opened when it is first asked for.
    async fn layout(&self) -> Result<&LayoutSource, SourceError> {
        self.layout.get_or_try_init(|| self.open()).await
    }

    async fn open(&self) -> Result<LayoutSource, SourceError> {
        let archive = self.archive.clone();
        let members = attended(move |cancel| archive.members(Duplicates::Last, cancel));
        let files = ArchivedFiles {
            path: self.archive.path.clone(),
            members: members.await?,
        };
        Ok(LayoutSource::in_archive(&self.reference, files))
    }
}

#[async_trait]
impl ImageSource for OciArchiveSource {
    async fn resolve(&self, platform: &Platform) -> Result<ResolvedImage, SourceError> {
        self.layout().await?.resolve(platform).await
    }

    async fn fetch_layers(
        &self,
        layers: &[LayerDescriptor],
        progress: &dyn ProgressSink,
    ) -> Result<Vec<LayerBlob>, SourceError> {
        self.layout().await?.fetch_layers(layers, progress).await
    }
}
