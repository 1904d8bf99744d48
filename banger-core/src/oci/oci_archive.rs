//! Images in an OCI layout inside a tar file, as skopeo's `oci-archive:`.
//!
//! Invariants: as of layouts; blobs are read in place. Of members of one name
//! the last counts, as where the archive is unpacked.

use async_trait::async_trait;
use camino::Utf8PathBuf;
use tokio::sync::OnceCell;

use super::{
    ImageSource, LayerBlob, LayerDescriptor, LayoutReference, OciArchiveReference, Platform,
    ResolvedImage, SourceError, SourceOptions, archive_file::ArchiveFile, layout::LayoutSource,
    layout_files::ArchivedFiles, members::Duplicates,
};
use crate::{progress::ProgressSink, task::attended};

/// An image in an archive of a layout.
#[derive(Debug)]
pub(super) struct OciArchiveSource {
    tag: Option<String>,
    /// What the archive is or was, for messages.
    kind: &'static str,
    archive: ArchiveFile,
    layout: OnceCell<LayoutSource>,
}

impl OciArchiveSource {
    pub(super) fn new(reference: &OciArchiveReference, options: &SourceOptions) -> Self {
        let archive = ArchiveFile::new(reference.to_string(), reference.file(), options);
        Self {
            archive: archive.brought_to(reference.brought.as_ref()),
            kind: "archive",
            tag: reference.tag().map(str::to_owned),
            layout: OnceCell::new(),
        }
    }

    /// A layout's directory that was brought here as an archive.
    pub(super) fn of_layout(
        reference: &LayoutReference,
        brought: &Utf8PathBuf,
        options: &SourceOptions,
    ) -> Self {
        let archive = ArchiveFile::new(reference.to_string(), reference.directory(), options);
        Self {
            archive: archive.brought_to(Some(brought)),
            kind: "directory",
            tag: reference.tag().map(str::to_owned),
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
            kind: self.kind,
            path: self.archive.path.clone(),
            members: members.await?,
        };
        let (reference, tag) = (self.archive.reference.clone(), self.tag.clone());
        Ok(LayoutSource::in_archive(reference, tag, files))
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
