//! Images in an OCI layout (OCI image-spec, `image-layout.md`), which is a
//! directory or an archive.
//!
//! Invariants: blobs are used where they are; documents are verified before
//! they are believed, layers by whoever reads them; nothing below the directory is reached
//! through a symbolic link, which could lead anywhere; only regular files are
//! read.

use std::{io, sync::Arc};

use async_trait::async_trait;
use serde::Deserialize;

use super::{
    ImageSource, LayerBlob, LayerDescriptor, LayoutReference, Platform, ResolvedImage, SourceError,
    document::{Blob, Document, IndexEntry, MAX_MANIFEST, parse_document},
    layout_files::{ArchivedFiles, DirectoryFiles, LayoutFiles},
    problem::{Problem, listed_tags},
    resolve::{Documents, check_size, resolve_image},
};
use crate::{
    domain::{Bytes, Digest},
    host_fs::PathError,
    progress::{ProgressEvent, ProgressSink},
    task::off_thread,
};

/// Largest `oci-layout` file that is looked at.
const MAX_MARKER: u64 = 64 * Bytes::KIB;

/// An image in a layout.
#[derive(Clone, Debug)]
pub(super) struct LayoutSource {
    layout: Arc<Layout>,
}

#[derive(Debug)]
struct Layout {
    files: Box<dyn LayoutFiles>,
    tag: Option<String>,
    reference: String,
}

/// The content of the file `oci-layout`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawMarker {
    image_layout_version: String,
}

impl LayoutSource {
    pub(super) fn new(reference: &LayoutReference) -> Self {
        Self::of(Layout {
            files: Box::new(DirectoryFiles(reference.directory().to_owned())),
            tag: reference.tag().map(str::to_owned),
            reference: reference.to_string(),
        })
    }

    /// The layout inside an archive that was opened.
    pub(super) fn in_archive(reference: String, tag: Option<String>, files: ArchivedFiles) -> Self {
        Self::of(Layout {
            files: Box::new(files),
            tag,
            reference,
        })
    }

    fn of(layout: Layout) -> Self {
        Self {
            layout: Arc::new(layout),
        }
    }

    /// Runs `work` where it may hold its thread up.
    async fn off_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Layout) -> Result<T, SourceError> + Send + 'static,
    ) -> Result<T, SourceError> {
        let layout = Arc::clone(&self.layout);
        off_thread(move || work(&layout)).await
    }
}

impl Layout {
    fn io(&self, source: PathError) -> SourceError {
        if source.io_error().kind() == io::ErrorKind::InvalidInput {
            let (path, problem) = (source.path(), source.io_error());
            return self.malformed(&format!("{path} cannot be read: {problem}"));
        }
        SourceError::Io {
            reference: self.reference.clone(),
            source,
        }
    }

    fn refused(&self, problem: Problem) -> SourceError {
        problem.of(&self.reference)
    }

    fn malformed(&self, problem: &str) -> SourceError {
        self.refused(Problem::Malformed(problem.to_owned()))
    }

    fn not_found(&self) -> SourceError {
        SourceError::NotFound {
            reference: self.reference.clone(),
        }
    }

    /// The document that the reference means.
    fn root(&self) -> Result<Blob, SourceError> {
        self.check_marker()?;
        let bytes = self.read_file("index.json", MAX_MANIFEST);
        let bytes = bytes.map_err(|error| self.io(error))?;
        if MAX_MANIFEST < bytes.len() as u64 {
            let problem = format!("index.json has more than {MAX_MANIFEST} bytes");
            return Err(self.refused(Problem::Limit(problem)));
        }
        let document = parse_document(&bytes).map_err(|problem| self.refused(problem))?;
        let Document::Index(entries) = document else {
            return Err(self.malformed("its index.json is no index"));
        };
        self.choose_tag(&entries)
    }

    /// A layout says that it is one, and of which version.
    fn check_marker(&self) -> Result<(), SourceError> {
        if !self.files.exists() {
            return Err(self.not_found());
        }
        let bytes = match self.read_file("oci-layout", MAX_MARKER) {
            Err(error) if error.io_error().kind() == io::ErrorKind::NotFound => {
                let kind = self.files.kind();
                let problem = format!("the {kind} is not an OCI layout: it has no oci-layout file");
                return Err(self.malformed(&problem));
            }
            read => read.map_err(|error| self.io(error))?,
        };
        let marker = serde_json::from_slice::<RawMarker>(&bytes);
        let marker = marker.map_err(|_| self.malformed("its oci-layout file is not valid"))?;
        if marker.image_layout_version.starts_with("1.") {
            return Ok(());
        }
        let version: String = marker.image_layout_version.chars().take(20).collect();
        let problem = format!("it is an OCI layout of version {version:?}");
        Err(self.refused(Problem::Unsupported(problem)))
    }

    fn choose_tag(&self, entries: &[IndexEntry]) -> Result<Blob, SourceError> {
        let entry = match (&self.tag, entries) {
            (Some(tag), _) => entries.iter().find(|entry| entry.tag.as_ref() == Some(tag)),
            (None, [only]) => Some(only),
            (None, []) => return Err(self.not_found()),
            (None, _) => {
                return Err(SourceError::Ambiguous {
                    reference: self.reference.clone(),
                    available: tags(entries),
                });
            }
        };
        let entry = entry.ok_or_else(|| SourceError::NoTag {
            reference: self.reference.clone(),
            available: tags(entries),
        })?;
        Ok(Blob {
            digest: entry.digest,
            size: entry.size,
        })
    }

    /// Reads at most one byte more than `limit`, so that a longer file shows.
    fn read_file(&self, path: &str, limit: u64) -> Result<Vec<u8>, PathError> {
        let file = self.files.open(path)?;
        let bytes = file.read_at_most(limit.saturating_add(1));
        bytes.map_err(|error| {
            let (place, _) = self.files.place(path, file);
            PathError::new("read", &place, error)
        })
    }

    /// Reads a small blob whole. Its claimed size has been checked.
    fn read_blob(&self, blob: &Blob) -> Result<Vec<u8>, SourceError> {
        let read = self.read_file(&blob_path(&blob.digest), blob.size.get());
        let bytes = read.map_err(|error| self.blob_failed(blob, error))?;
        self.compare(blob, Digest::of(&bytes), bytes.len() as u64)?;
        Ok(bytes)
    }

    /// Where a layer is that has the announced length.
    fn locate(&self, descriptor: LayerDescriptor) -> Result<LayerBlob, SourceError> {
        let blob = Blob {
            digest: descriptor.digest,
            size: descriptor.size,
        };
        let name = blob_path(&blob.digest);
        let opened = self.files.open(&name);
        let opened = opened.map_err(|error| self.blob_failed(&blob, error))?;
        self.compare_length(&blob, opened.length())?;
        let (path, bytes) = self.files.place(&name, opened);
        Ok(LayerBlob {
            path,
            bytes,
            descriptor,
            verified: false,
        })
    }

    fn compare(&self, blob: &Blob, digest: Digest, length: u64) -> Result<(), SourceError> {
        self.compare_length(blob, length)?;
        if digest != blob.digest {
            return Err(self.corrupt(blob, format!("its bytes have digest {digest}")));
        }
        Ok(())
    }

    fn compare_length(&self, blob: &Blob, length: u64) -> Result<(), SourceError> {
        if blob.size.get() < length {
            return Err(self.corrupt(
                blob,
                format!("it is longer than the announced {}", blob.size),
            ));
        }
        if length < blob.size.get() {
            let problem = format!("it has {length} bytes of {}", blob.size.get());
            return Err(self.corrupt(blob, problem));
        }
        Ok(())
    }

    fn blob_failed(&self, blob: &Blob, error: PathError) -> SourceError {
        match error.io_error().kind() {
            io::ErrorKind::NotFound => {
                self.corrupt(blob, format!("the {} does not have it", self.files.kind()))
            }
            _ => self.io(error),
        }
    }

    fn corrupt(&self, blob: &Blob, problem: String) -> SourceError {
        SourceError::Corrupt {
            reference: self.reference.clone(),
            digest: blob.digest,
            problem,
        }
    }
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.to_hex())
}

/// The tags of an index, for a message.
fn tags(entries: &[IndexEntry]) -> String {
    listed_tags(entries.iter().filter_map(|entry| entry.tag.as_deref()))
}

#[async_trait]
impl Documents for LayoutSource {
    async fn document(&self, blob: &Blob) -> Result<Vec<u8>, SourceError> {
        let blob = *blob;
        self.off_thread(move |layout| layout.read_blob(&blob)).await
    }

    async fn config(&self, blob: &Blob) -> Result<Vec<u8>, SourceError> {
        self.document(blob).await
    }

    fn reference(&self) -> &str {
        &self.layout.reference
    }
}

#[async_trait]
impl ImageSource for LayoutSource {
    async fn resolve(&self, platform: &Platform) -> Result<ResolvedImage, SourceError> {
        let root = self.off_thread(Layout::root).await?;
        check_size(self, &root, MAX_MANIFEST, "manifest")?;
        let bytes = self.document(&root).await?;
        resolve_image(self, (root.digest, bytes), platform).await
    }

    async fn fetch_layers(
        &self,
        layers: &[LayerDescriptor],
        progress: &dyn ProgressSink,
    ) -> Result<Vec<LayerBlob>, SourceError> {
        let mut blobs = Vec::with_capacity(layers.len());
        for descriptor in layers {
            let layer = descriptor.digest;
            let descriptor = descriptor.clone();
            let located = self.off_thread(move |layout| layout.locate(descriptor));
            blobs.push(located.await?);
            progress.emit(ProgressEvent::LayerCached { layer });
        }
        Ok(blobs)
    }
}
