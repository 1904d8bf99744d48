//! Images in files of `docker save`, as skopeo's `docker-archive:`.
//!
//! Such a file has a `manifest.json` that names, for each image, its
//! configuration, its layers and its names. There are no blob digests: plain
//! layers are verified by the configuration's diff_ids, and the digest of a
//! compressed one is computed from its bytes. Invariants: the configuration is
//! compared with the digest it is named by, if it is; layers are read in
//! place. Of members of one name the first counts, as where the archive is
//! searched.

use std::{io, sync::Arc};

use async_trait::async_trait;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use super::{
    Compression, DockerArchiveReference, ImageSource, LayerBlob, LayerBytes, LayerDescriptor,
    Platform, ResolvedImage, SourceError, SourceOptions,
    archive_file::ArchiveFile,
    config::{diff_ids, resolve},
    docker_manifest::{ArchivedManifest, NotChosen, choose, named_digest, parse_manifests},
    document::{Blob, MAX_CONFIG, MAX_LAYER, MAX_MANIFEST, Manifest},
    members::{Duplicates, Members},
    problem::Problem,
};
use crate::{
    domain::{Bytes, Digest},
    host_fs::{FileRange, IoContext as _},
    progress::{ProgressEvent, ProgressSink},
    task::attended,
};

const MANIFESTS: &str = "manifest.json";

/// An image in a docker archive.
#[derive(Debug)]
pub(super) struct DockerArchiveSource {
    archive: Arc<DockerArchive>,
    image: OnceCell<ArchivedImage>,
}

#[derive(Debug)]
struct DockerArchive {
    file: ArchiveFile,
    reference: DockerArchiveReference,
}

/// What the archive says of the chosen image.
#[derive(Debug)]
struct ArchivedImage {
    config: Vec<u8>,
    manifest: Manifest,
    /// The layers' bytes, in the manifest's order.
    layers: Vec<FileRange>,
}

impl DockerArchiveSource {
    pub(super) fn new(reference: &DockerArchiveReference, options: &SourceOptions) -> Self {
        let archive = DockerArchive {
            file: ArchiveFile::new(reference.to_string(), reference.file(), options)
                .brought_to(reference.brought.as_ref()),
            reference: reference.clone(),
        };
        Self {
            archive: Arc::new(archive),
            image: OnceCell::new(),
        }
    }

    /// The image, looked up when it is first asked for.
    async fn image(&self) -> Result<&ArchivedImage, SourceError> {
        let archive = Arc::clone(&self.archive);
        self.image
            .get_or_try_init(|| attended(move |cancel| archive.image(cancel)))
            .await
    }
}

impl DockerArchive {
    fn image(&self, cancel: &CancellationToken) -> Result<ArchivedImage, SourceError> {
        let members = self.file.members(Duplicates::First, cancel)?;
        let named = self.manifest(&members)?;
        let config = self.document(&members, &named.config, MAX_CONFIG)?;
        let digest = self.config_digest(&named, &config)?;
        let diff_ids = self.diff_ids(&named, &config)?;
        let mut layers = Vec::with_capacity(named.layers.len());
        let mut blobs = Vec::with_capacity(named.layers.len());
        for (name, diff_id) in named.layers.iter().zip(&diff_ids) {
            let range = self.layer(&members, name)?;
            blobs.push(self.blob((name, &range), diff_id, cancel)?);
            layers.push(range);
        }
        let config_blob = Blob {
            digest,
            size: Bytes::new(config.len() as u64),
        };
        Ok(ArchivedImage {
            manifest: Manifest {
                config: config_blob,
                layers: blobs,
            },
            config,
            layers,
        })
    }

    fn manifest(&self, members: &Members) -> Result<ArchivedManifest, SourceError> {
        if let Err(error) = members.find(MANIFESTS)
            && error.kind() == io::ErrorKind::NotFound
        {
            let problem = "it is no archive of docker 1.10 or later: it has no manifest.json";
            return Err(self.file.malformed(problem));
        }
        let bytes = self.document(members, MANIFESTS, MAX_MANIFEST)?;
        let manifests = parse_manifests(&bytes).map_err(|problem| self.file.refused(problem))?;
        let reference = || self.file.reference.clone();
        choose(manifests, self.reference.image()).map_err(|problem| match problem {
            NotChosen::Empty => SourceError::NotFound {
                reference: reference(),
            },
            NotChosen::Missing { available } => SourceError::NoTag {
                reference: reference(),
                available,
            },
            NotChosen::Ambiguous { available } => SourceError::Ambiguous {
                reference: reference(),
                available,
            },
        })
    }

    /// One for each layer, before a byte of any layer is read.
    fn diff_ids(
        &self,
        named: &ArchivedManifest,
        config: &[u8],
    ) -> Result<Vec<Digest>, SourceError> {
        let diff_ids = diff_ids(config).map_err(|problem| self.file.refused(problem))?;
        let (stated, there) = (diff_ids.len(), named.layers.len());
        if stated != there {
            let problem = format!("its configuration names {stated} layers, its manifest {there}");
            return Err(self.file.malformed(problem));
        }
        Ok(diff_ids)
    }

    fn member(&self, members: &Members, name: &str) -> Result<FileRange, SourceError> {
        members.find(name).map_err(|error| {
            let shown: String = name.chars().take(200).collect();
            let problem = match error.kind() {
                io::ErrorKind::NotFound => format!("it has no member {shown:?}"),
                _ => format!("its member {shown:?} cannot be used: {error}"),
            };
            self.file.malformed(problem)
        })
    }

    /// A small member, whole.
    fn document(&self, members: &Members, name: &str, limit: u64) -> Result<Vec<u8>, SourceError> {
        let range = self.member(members, name)?;
        self.check_size(name, &range, limit)?;
        let bytes = range.read_at_most(limit).at("read", &self.file.path);
        bytes.map_err(|error| self.file.io(error))
    }

    fn layer(&self, members: &Members, name: &str) -> Result<FileRange, SourceError> {
        let range = self.member(members, name)?;
        self.check_size(name, &range, MAX_LAYER)?;
        Ok(range)
    }

    fn check_size(&self, name: &str, range: &FileRange, limit: u64) -> Result<(), SourceError> {
        let length = range.length();
        if length <= limit {
            return Ok(());
        }
        let problem = format!("its member {name:?} has {length} bytes, more than {limit}");
        Err(self.file.refused(Problem::Limit(problem)))
    }

    fn config_digest(
        &self,
        named: &ArchivedManifest,
        config: &[u8],
    ) -> Result<Digest, SourceError> {
        let actual = Digest::of(config);
        match named_digest(&named.config).filter(|expected| *expected != actual) {
            Some(expected) => Err(self.corrupt(expected, actual)),
            None => Ok(actual),
        }
    }

    /// What a layer is as stored. The digest of a plain one is its diff_id,
    /// which whoever reads it compares.
    fn blob(
        &self,
        (name, range): (&str, &FileRange),
        diff_id: &Digest,
        cancel: &CancellationToken,
    ) -> Result<(Blob, Compression), SourceError> {
        let compression = self
            .file
            .compression(range, &format!("its member {name:?}"))?;
        let digest = match compression {
            Compression::None => *diff_id,
            _ => self.file.digest(range, cancel)?,
        };
        let blob = Blob {
            digest,
            size: Bytes::new(range.length()),
        };
        match name.strip_prefix("blobs/sha256/").and_then(named_digest) {
            Some(expected) if expected != digest => Err(self.corrupt(expected, digest)),
            _ => Ok((blob, compression)),
        }
    }

    fn corrupt(&self, expected: Digest, actual: Digest) -> SourceError {
        SourceError::Corrupt {
            reference: self.file.reference.clone(),
            digest: expected,
            problem: format!("its bytes have digest {actual}"),
        }
    }
}

impl ArchivedImage {
    fn bytes_of(&self, layer: &LayerDescriptor) -> Option<FileRange> {
        let blobs = self.manifest.layers.iter().zip(&self.layers);
        let mut same = blobs.filter(|((blob, _), _)| blob.digest == layer.digest);
        same.next().map(|(_, range)| range.clone())
    }
}

#[async_trait]
impl ImageSource for DockerArchiveSource {
    async fn resolve(&self, platform: &Platform) -> Result<ResolvedImage, SourceError> {
        let image = self.image().await?;
        // the configuration's digest is what docker calls the image by
        let root = (image.manifest.config.digest, &image.manifest);
        let resolved = resolve(root, &image.config, platform);
        resolved.map_err(|problem| self.archive.file.refused(problem))
    }

    async fn fetch_layers(
        &self,
        layers: &[LayerDescriptor],
        progress: &dyn ProgressSink,
    ) -> Result<Vec<LayerBlob>, SourceError> {
        let image = self.image().await?;
        let blobs = layers.iter().map(|descriptor| {
            let range = image.bytes_of(descriptor);
            let range = range.ok_or_else(|| {
                let problem = format!("it has no layer {}", descriptor.digest);
                self.archive.file.malformed(problem)
            })?;
            progress.emit(ProgressEvent::LayerCached {
                layer: descriptor.digest,
            });
            Ok(LayerBlob {
                path: self.archive.file.path.clone(),
                bytes: LayerBytes::Range(range),
                descriptor: descriptor.clone(),
                verified: false,
            })
        });
        blobs.collect()
    }
}
