//! Images in an OCI layout directory (OCI image-spec, `image-layout.md`).
//!
//! Blobs are used where they are; each is verified before it is handed out.
//! A blob that is a symbolic link is refused: it could lead anywhere.

use std::{
    fs::{File, OpenOptions},
    io::Read as _,
    os::unix::fs::OpenOptionsExt as _,
};

use async_trait::async_trait;
use camino::{Utf8Path, Utf8PathBuf};
use sha2::{Digest as _, Sha256};

use super::{
    ImageSource, LayerBlob, LayerDescriptor, LayoutReference, Platform, ResolvedImage, SourceError,
    document::{Blob, Document, IndexEntry, MAX_MANIFEST, parse_document},
    resolve::{Documents, check_size, malformed, resolve_image},
};
use crate::{
    domain::{Bytes, Digest},
    host_fs::{IoContext as _, PathError},
    progress::{ProgressEvent, ProgressSink},
    task::off_thread,
};

/// An image in a layout directory.
#[derive(Clone, Debug)]
pub(super) struct LayoutSource {
    directory: Utf8PathBuf,
    tag: Option<String>,
    reference: String,
}

impl LayoutSource {
    pub(super) fn new(layout: &LayoutReference) -> Self {
        Self {
            directory: layout.directory().to_owned(),
            tag: layout.tag().map(str::to_owned),
            reference: layout.to_string(),
        }
    }

    fn blob_path(&self, digest: &Digest) -> Utf8PathBuf {
        self.directory
            .join("blobs")
            .join("sha256")
            .join(digest.to_hex())
    }

    fn io(&self, source: PathError) -> SourceError {
        SourceError::Io {
            reference: self.reference.clone(),
            source,
        }
    }

    fn not_found(&self) -> SourceError {
        SourceError::NotFound {
            reference: self.reference.clone(),
        }
    }

    /// The entry of `index.json` that the reference means.
    fn root(&self) -> Result<Blob, SourceError> {
        self.check_marker()?;
        let path = self.directory.join("index.json");
        let bytes = read_limited(&path, MAX_MANIFEST).map_err(|error| self.io(error))?;
        let document = parse_document(&bytes).map_err(|problem| malformed(self, problem))?;
        let Document::Index(entries) = document else {
            return Err(malformed(self, "index.json is not an index".to_owned()));
        };
        let entry = self.choose_tag(&entries)?;
        Ok(Blob {
            digest: entry.digest,
            size: entry.size,
        })
    }

    fn check_marker(&self) -> Result<(), SourceError> {
        if self.directory.join("oci-layout").is_file() {
            return Ok(());
        }
        if self.directory.is_dir() {
            return Err(malformed(
                self,
                "the directory is not an OCI layout: it has no oci-layout file".to_owned(),
            ));
        }
        Err(self.not_found())
    }

    fn choose_tag<'a>(&self, entries: &'a [IndexEntry]) -> Result<&'a IndexEntry, SourceError> {
        match (&self.tag, entries) {
            (Some(tag), _) => {
                let named = entries.iter().find(|entry| entry.tag.as_ref() == Some(tag));
                named.ok_or_else(|| self.not_found())
            }
            (None, [only]) => Ok(only),
            (None, []) => Err(self.not_found()),
            (None, several) => {
                let tags: Vec<&str> = several
                    .iter()
                    .filter_map(|entry| entry.tag.as_deref())
                    .collect();
                Err(malformed(
                    self,
                    format!(
                        "it holds several images: give one of the tags {}",
                        tags.join(", ")
                    ),
                ))
            }
        }
    }

    /// Reads a small blob whole.
    fn read(&self, blob: &Blob) -> Result<Vec<u8>, SourceError> {
        let path = self.blob_path(&blob.digest);
        let bytes = read_limited(&path, blob.size.get()).map_err(|error| self.io(error))?;
        self.compare(blob, Digest::of(&bytes), bytes.len() as u64)?;
        Ok(bytes)
    }

    /// Reads a blob through and compares it with its name.
    fn verify(&self, blob: &Blob) -> Result<Utf8PathBuf, SourceError> {
        let path = self.blob_path(&blob.digest);
        let (digest, length) = hash_file(&path, blob.size.get()).map_err(|error| self.io(error))?;
        self.compare(blob, digest, length)?;
        Ok(path)
    }

    fn compare(&self, blob: &Blob, digest: Digest, length: u64) -> Result<(), SourceError> {
        if digest == blob.digest && length == blob.size.get() {
            return Ok(());
        }
        let problem = format!(
            "its first {} of {} have digest {digest}",
            Bytes::new(length),
            blob.size
        );
        Err(SourceError::Corrupt {
            reference: self.reference.clone(),
            digest: blob.digest,
            problem,
        })
    }
}

/// Opens a regular file without following a link.
fn open_regular(path: &Utf8Path) -> Result<File, PathError> {
    let no_follow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(no_follow)
        .open(path)
        .at("open", path)?;
    if file.metadata().at("inspect", path)?.is_file() {
        return Ok(file);
    }
    Err(PathError::new(
        "open",
        path,
        std::io::Error::other("it is not a regular file"),
    ))
}

/// Reads at most one byte more than `limit`, so that a longer file shows.
fn read_limited(path: &Utf8Path, limit: u64) -> Result<Vec<u8>, PathError> {
    let mut bytes = Vec::new();
    open_regular(path)?
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .at("read", path)?;
    Ok(bytes)
}

fn hash_file(path: &Utf8Path, limit: u64) -> Result<(Digest, u64), PathError> {
    let mut file = open_regular(path)?.take(limit + 1);
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut length = 0;
    loop {
        let read = file.read(&mut buffer).at("read", path)?;
        if read == 0 {
            return Ok((Digest::from_bytes(hasher.finalize().into()), length));
        }
        hasher.update(&buffer[..read]);
        length += read as u64;
    }
}

#[async_trait]
impl Documents for LayoutSource {
    async fn document(&self, blob: &Blob) -> Result<Vec<u8>, SourceError> {
        self.read(blob)
    }

    async fn config(&self, blob: &Blob) -> Result<Vec<u8>, SourceError> {
        self.read(blob)
    }

    fn reference(&self) -> &str {
        &self.reference
    }
}

#[async_trait]
impl ImageSource for LayoutSource {
    async fn resolve(&self, platform: &Platform) -> Result<ResolvedImage, SourceError> {
        let root = self.root()?;
        check_size(self, &root, MAX_MANIFEST, "manifest")?;
        let bytes = self.read(&root)?;
        resolve_image(self, (root.digest, bytes), platform).await
    }

    async fn fetch_layers(
        &self,
        layers: &[LayerDescriptor],
        progress: &dyn ProgressSink,
    ) -> Result<Vec<LayerBlob>, SourceError> {
        let mut blobs = Vec::with_capacity(layers.len());
        for descriptor in layers {
            let (source, descriptor) = (self.clone(), descriptor.clone());
            let blob = Blob {
                digest: descriptor.digest,
                size: descriptor.size,
            };
            let path = off_thread(move || source.verify(&blob)).await?;
            progress.emit(ProgressEvent::LayerCached {
                layer: descriptor.digest,
            });
            blobs.push(LayerBlob { path, descriptor });
        }
        Ok(blobs)
    }
}
