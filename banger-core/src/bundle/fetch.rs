//! Getting bytes from where they are: small documents, and bundles.
//!
//! Invariants: what is fetched lies in the cache of blobs under its digest
//! only after its bytes matched it; a limit is checked before and while bytes
//! arrive; whatever is elsewhere is reached as registries are (`oci::Remote`).

use camino::{Utf8Path, Utf8PathBuf};

use super::{
    BroughtFile, BundleError, BundleReference, Location, Opened,
    open::{open_file, verify},
};
use crate::{
    domain::{Bytes, Digest},
    error::ErrorKind,
    host_fs::PathError,
    oci::{Artifact, Blob, FetchedBlob, RegistryReference, Remote, RemoteFile, SourceOptions},
    progress::{BundleStep, ProgressEvent, ProgressSink},
    task::{off_thread, telling},
};

/// Media type of a bundle in an artifact.
const BUNDLE_TYPE: &str = "application/vnd.banger.bundle.v1.tar+zstd";
/// Media type of the minisign signature of what is beside it in an artifact.
const SIGNATURE_TYPE: &str = "application/vnd.banger.minisig.v1";
/// What a signature's file name has behind that of what it signs.
pub(super) const SIGNATURE_SUFFIX: &str = ".minisig";
/// Largest signature; minisign's have 400 bytes.
pub(super) const MAX_SIGNATURE: Bytes = Bytes::new(16 * Bytes::KIB);

/// Bounds on what is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchLimits {
    /// Bytes of a bundle as it is stored.
    pub bundle: Bytes,
    /// Bytes of the files in a bundle, holes counted.
    pub unpacked: Bytes,
}

/// Gets bundles, and documents that are not larger than memory.
#[derive(Clone, Debug)]
pub struct Fetcher {
    remote: Remote,
    limits: FetchLimits,
}

/// A sort of small document.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DocumentKind {
    /// Most bytes.
    pub(crate) limit: Bytes,
    /// Its media type in an artifact.
    pub(crate) media_type: &'static str,
}

/// A document, with its signature where one was asked for and is there.
#[derive(Debug)]
pub(crate) struct SignedDocument {
    pub(crate) bytes: Vec<u8>,
    pub(crate) signature: Option<String>,
}

/// A bundle's file.
struct Source {
    path: Utf8PathBuf,
    /// The digest it must have.
    expected: Option<Digest>,
    /// Keeps it in the cache until it is open.
    _fetched: Option<FetchedBlob>,
}

impl Fetcher {
    /// A fetcher that reaches servers and registries as `sources` says, and
    /// keeps blobs where those do.
    #[must_use]
    pub fn new(sources: SourceOptions, limits: FetchLimits) -> Self {
        Self {
            remote: Remote::new(sources),
            limits,
        }
    }

    /// Opens a bundle whose bytes match its digest, fetched if need be; `size`
    /// is what a catalog says of its length. Cancelling leaves at most a
    /// partial download.
    pub async fn open(
        &self,
        reference: &BundleReference,
        size: Option<Bytes>,
        progress: &dyn ProgressSink,
    ) -> Result<Opened, BundleError> {
        let location = reference.location.to_string();
        let source = self.source(reference, size, progress).await?;
        let limits = self.limits;
        let opened = telling(progress, move |progress, cancelled| {
            let file = open_file(&location, &source.path, limits.bundle)?;
            check_length(&location, size, Bytes::new(file.length()))?;
            if let Some(expected) = source.expected {
                verify(&location, &file, expected, progress, cancelled)?;
            }
            Opened::open(&location, file, source.expected, limits.unpacked)
        });
        opened.await
    }

    /// The whole of a document.
    pub(crate) async fn document(
        &self,
        location: &Location,
        kind: DocumentKind,
        is_signed: bool,
    ) -> Result<SignedDocument, BundleError> {
        if let Location::Artifact(image) = location {
            let artifact = self.remote.artifact(image).await?;
            let file = artifact.required(kind.media_type)?;
            let bytes = artifact.read_file(file, kind.limit).await?;
            let signature = if is_signed {
                signature_in(&artifact).await?
            } else {
                None
            };
            return Ok(SignedDocument { bytes, signature });
        }
        let bytes = self.read(location, kind.limit).await?;
        let signature = if is_signed {
            self.signature_beside(location).await?
        } else {
            None
        };
        Ok(SignedDocument { bytes, signature })
    }

    /// The minisign signature of a bundle, if there is one.
    pub(crate) async fn signature(
        &self,
        reference: &BundleReference,
    ) -> Result<Option<String>, BundleError> {
        let Location::Artifact(image) = &reference.location else {
            return self.signature_beside(&reference.location).await;
        };
        let artifact = self.remote.artifact(image).await?;
        signature_in(&artifact).await
    }

    async fn signature_beside(&self, location: &Location) -> Result<Option<String>, BundleError> {
        let beside = match location {
            Location::File(path) => Location::File(format!("{path}{SIGNATURE_SUFFIX}").into()),
            Location::Url(url) => Location::Url(format!("{url}{SIGNATURE_SUFFIX}")),
            Location::Brought(brought) => return Ok(brought.signature.clone()),
            Location::Artifact(_) => return Ok(None),
        };
        match self.read(&beside, MAX_SIGNATURE).await {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The whole of a file of at most `limit` bytes.
    async fn read(&self, location: &Location, limit: Bytes) -> Result<Vec<u8>, BundleError> {
        let name = location.to_string();
        match location {
            Location::File(path) | Location::Brought(BroughtFile { file: path, .. }) => {
                let path = path.clone();
                off_thread(move || read_file(&name, &path, limit)).await
            }
            Location::Url(url) => {
                let read = self.remote.document(url, limit).await?;
                read.ok_or_else(|| too_large(&name, limit))
            }
            Location::Artifact(_) => {
                let problem = "it is no single file";
                Err(BundleError::malformed(&name, problem))
            }
        }
    }

    /// Where a bundle is on this host, once it is there.
    async fn source(
        &self,
        reference: &BundleReference,
        size: Option<Bytes>,
        progress: &dyn ProgressSink,
    ) -> Result<Source, BundleError> {
        let name = reference.location.to_string();
        let (file, digest, size) = match &reference.location {
            Location::File(path) | Location::Brought(BroughtFile { file: path, .. }) => {
                return Ok(Source {
                    path: path.clone(),
                    expected: reference.digest,
                    _fetched: None,
                });
            }
            Location::Url(url) => (self.remote.at(url)?, reference.digest, size),
            Location::Artifact(image) => {
                let (digest, size) = self.pinned(reference, image, size).await?;
                (self.remote.within(image)?, digest, size)
            }
        };
        let digest = digest.ok_or_else(|| {
            BundleError::malformed(&name, "without the digest of its bytes it is not fetched")
        })?;
        let fetched = self
            .download((&name, &file), digest, size, progress)
            .await?;
        Ok(Source {
            path: fetched.path.clone(),
            expected: Some(digest),
            _fetched: Some(fetched),
        })
    }

    /// Digest and length of the bundle in an artifact, as far as they are known.
    async fn pinned(
        &self,
        reference: &BundleReference,
        image: &RegistryReference,
        size: Option<Bytes>,
    ) -> Result<(Option<Digest>, Option<Bytes>), BundleError> {
        // whatever the manifest says, these are the bytes; and without any
        // digest, there are none
        if reference.digest.is_some() || image.digest().is_none() {
            return Ok((reference.digest, size));
        }
        let artifact = self.remote.artifact(image).await?;
        let bundle = artifact.required(BUNDLE_TYPE)?;
        Ok((Some(bundle.digest), Some(bundle.size)))
    }

    /// A file from the cache or from where it is.
    async fn download(
        &self,
        (name, file): (&str, &RemoteFile),
        digest: Digest,
        size: Option<Bytes>,
        progress: &dyn ProgressSink,
    ) -> Result<FetchedBlob, BundleError> {
        let size = match size.or_else(|| self.remote.cached_length(&digest)) {
            Some(size) => size,
            None => announced_length(name, file, &digest).await?,
        };
        if self.limits.bundle < size {
            return Err(too_large(name, self.limits.bundle));
        }
        let told = |done| {
            progress.emit(ProgressEvent::Bundle {
                step: BundleStep::Fetching,
                done: Bytes::new(done),
                total: size,
            });
        };
        let fetched = self.remote.fetch(file, Blob { digest, size }, &told).await;
        Ok(fetched?)
    }
}

async fn signature_in(artifact: &Artifact) -> Result<Option<String>, BundleError> {
    let Some(file) = artifact.file(SIGNATURE_TYPE)? else {
        return Ok(None);
    };
    let bytes = artifact.read_file(file, MAX_SIGNATURE).await?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

async fn announced_length(
    name: &str,
    file: &RemoteFile,
    digest: &Digest,
) -> Result<Bytes, BundleError> {
    let length = file.length(digest).await?;
    length.ok_or_else(|| BundleError::Unsupported {
        location: name.to_owned(),
        problem: "its server does not tell its length".to_owned(),
    })
}

pub(super) fn read_file(name: &str, path: &Utf8Path, limit: Bytes) -> Result<Vec<u8>, BundleError> {
    let file = open_file(&name, path, limit)?;
    // it may have grown meanwhile
    let read = file.read_at_most(limit.get() + 1);
    let bytes =
        read.map_err(|error| BundleError::io(&name)(PathError::new("read", path, error)))?;
    if limit.get() < bytes.len() as u64 {
        return Err(too_large(name, limit));
    }
    Ok(bytes)
}

fn too_large(location: &str, limit: Bytes) -> BundleError {
    BundleError::Limit {
        location: location.to_owned(),
        problem: format!("it has more than {limit}"),
    }
}

fn check_length(location: &str, expected: Option<Bytes>, actual: Bytes) -> Result<(), BundleError> {
    match expected {
        Some(expected) if expected != actual => Err(BundleError::Corrupt {
            location: location.to_owned(),
            problem: format!(
                "it should have {} bytes and has {}",
                expected.get(),
                actual.get()
            ),
        }),
        _ => Ok(()),
    }
}
