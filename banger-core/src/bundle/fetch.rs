//! Getting bytes from where they are: small documents, and bundles.
//!
//! Invariants: what is fetched from a URL lies in the cache of blobs under its
//! digest only after its bytes matched it; a download goes on where the last
//! one ended; a limit is checked before and while bytes arrive; every wait has
//! a deadline; a URL with TLS never leads to one without.

use std::{sync::Arc, time::Duration};

use camino::{Utf8Path, Utf8PathBuf};
use reqwest::{Client, Response, StatusCode, header};

use super::{
    BundleError, BundleReference, Location, Opened,
    open::{open_file, verify},
};
use crate::{
    directories::Directories,
    domain::{Bytes, Digest},
    host_fs::FileLock,
    oci::{Blob, BlobCache, Partial, PartialError, install_tls_provider},
    progress::{BundleStep, Meter, ProgressSink},
    task::{off_thread, telling},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest silence of a server.
const READ_TIMEOUT: Duration = Duration::from_mins(1);
/// Longest wait for a whole small document.
const DOCUMENT_DEADLINE: Duration = Duration::from_mins(2);
/// Attempts in a row that bring nothing.
const ATTEMPTS: u32 = 4;
/// Pause before the second attempt; later ones grow from it.
const PAUSE: Duration = Duration::from_millis(500);

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
    cache: BlobCache,
    directories: Directories,
    limits: FetchLimits,
}

/// Why an attempt failed, and whether another one may end otherwise.
struct Failed {
    error: BundleError,
    may_pass: bool,
}

impl From<BundleError> for Failed {
    fn from(error: BundleError) -> Self {
        Self {
            may_pass: matches!(error, BundleError::Unavailable { .. }),
            error,
        }
    }
}

impl Fetcher {
    /// A fetcher that keeps blobs below these directories.
    #[must_use]
    pub fn new(directories: Directories, limits: FetchLimits) -> Self {
        Self {
            cache: BlobCache::new(directories.clone()),
            directories,
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
        let path = match (&reference.location, reference.digest) {
            (Location::File(path), _) => path.clone(),
            (Location::Url(url), Some(digest)) => {
                self.download(url, digest, size, progress).await?
            }
            (Location::Url(_), None) => {
                let problem = "a URL needs the digest of its bytes";
                return Err(BundleError::malformed(&location, problem));
            }
        };
        let (limits, expected) = (self.limits, reference.digest);
        let opened = telling(progress, move |progress, cancelled| {
            let file = open_file(&location, &path, limits.bundle)?;
            check_length(&location, size, Bytes::new(file.length()))?;
            if let Some(expected) = expected {
                verify(&location, &file, expected, progress, cancelled)?;
            }
            Opened::open(&location, file, expected, limits.unpacked)
        });
        opened.await
    }

    /// The whole of a document of at most `limit` bytes.
    pub async fn document(
        &self,
        location: &Location,
        limit: Bytes,
    ) -> Result<Vec<u8>, BundleError> {
        let bytes = match location {
            Location::File(path) => {
                let (path, name) = (path.clone(), location.to_string());
                let read = off_thread(move || read_file(&name, &path, limit));
                read.await?
            }
            Location::Url(url) => {
                let read = tokio::time::timeout(DOCUMENT_DEADLINE, read_url(url, limit)).await;
                read.unwrap_or_else(|_| {
                    Err(BundleError::Unavailable {
                        location: url.clone(),
                        reason: format!("no whole answer within {DOCUMENT_DEADLINE:?}"),
                    })
                })?
            }
        };
        if limit.get() < bytes.len() as u64 {
            return Err(too_large(&location.to_string(), limit));
        }
        Ok(bytes)
    }

    /// A blob of a URL, from the cache or the server.
    async fn download(
        &self,
        url: &str,
        digest: Digest,
        size: Option<Bytes>,
        progress: &dyn ProgressSink,
    ) -> Result<Utf8PathBuf, BundleError> {
        let cached = std::fs::metadata(self.directories.blob(&digest)).ok();
        let size = match (size, cached) {
            (Some(size), _) => size,
            (None, Some(cached)) => Bytes::new(cached.len()),
            (None, None) => announced_length(url).await?,
        };
        if self.limits.bundle < size {
            return Err(too_large(url, self.limits.bundle));
        }
        let blob = Blob { digest, size };
        if let Some(path) = self.cache.find(&blob) {
            return Ok(path);
        }
        let lock = self.cache.lock(&digest).await;
        let lock = lock.map_err(|source| BundleError::Lock {
            location: url.to_owned(),
            source,
        })?;
        // whoever held the lock may have fetched it
        match self.cache.find(&blob) {
            Some(path) => Ok(path),
            None => self.attempts(url, blob, lock, progress).await,
        }
    }

    async fn attempts(
        &self,
        url: &str,
        blob: Blob,
        lock: Arc<FileLock>,
        progress: &dyn ProgressSink,
    ) -> Result<Utf8PathBuf, BundleError> {
        let mut idle = 1;
        loop {
            let before = self.cache.partial_length(&blob);
            let failed = match self.attempt(url, blob, Arc::clone(&lock), progress).await {
                Ok(path) => return Ok(path),
                Err(failed) => failed,
            };
            // a large blob on a bad line may break off more often than we retry
            if before < self.cache.partial_length(&blob) {
                idle = 0;
            }
            if !failed.may_pass || ATTEMPTS <= idle {
                return Err(failed.error);
            }
            tokio::time::sleep(PAUSE * 2_u32.pow(idle)).await;
            idle += 1;
        }
    }

    async fn attempt(
        &self,
        url: &str,
        blob: Blob,
        lock: Arc<FileLock>,
        progress: &dyn ProgressSink,
    ) -> Result<Utf8PathBuf, Failed> {
        let opened = self.cache.unwatched(blob, lock).await;
        let mut partial = opened.map_err(|error| spoiled(url, error.into()))?;
        if !partial.is_complete() {
            let received = receive(url, &mut partial, blob, progress).await;
            let kept = partial.flush().await;
            received?;
            kept.map_err(|error| spoiled(url, error.into()))?;
        }
        let published = partial.publish().await;
        published.map_err(|error| spoiled(url, error))?;
        Ok(self.cache.path(&blob))
    }
}

/// Asks for what is missing and takes it in.
async fn receive(
    url: &str,
    partial: &mut Partial,
    blob: Blob,
    progress: &dyn ProgressSink,
) -> Result<(), Failed> {
    let offset = partial.length();
    let mut request = client(url)?.get(url);
    if offset != 0 {
        request = request.header(header::RANGE, format!("bytes={offset}-"));
    }
    let response = request.send().await;
    let mut response = response.map_err(|error| unavailable(url, &error))?;
    let goes_on = response.status() == StatusCode::PARTIAL_CONTENT && starts_at(&response, offset);
    if offset != 0 && !goes_on {
        let restarted = partial.restart().await;
        restarted.map_err(|error| spoiled(url, error.into()))?;
    }
    if response.status() == StatusCode::RANGE_NOT_SATISFIABLE
        || (response.status() == StatusCode::PARTIAL_CONTENT && !goes_on)
    {
        return Err(Failed {
            error: refusal(url, "the server sent another part than it was asked for"),
            may_pass: true,
        });
    }
    check_status(url, &response)?;
    let mut meter = Meter::new(progress, BundleStep::Fetching, blob.size.get());
    meter.add(partial.length());
    loop {
        let chunk = response.chunk().await;
        let Some(chunk) = chunk.map_err(|error| unavailable(url, &error))? else {
            return Ok(());
        };
        let appended = partial.append(&chunk).await;
        appended.map_err(|error| spoiled(url, error))?;
        meter.add(chunk.len() as u64);
    }
}

/// A download that went wrong on this side, or whose bytes are wrong.
fn spoiled(url: &str, error: PartialError) -> Failed {
    match error {
        PartialError::Corrupt { problem, may_pass } => Failed {
            error: BundleError::Corrupt {
                location: url.to_owned(),
                problem,
            },
            may_pass,
        },
        PartialError::Io(source) => BundleError::io(&url)(source).into(),
    }
}

/// Whether a partial answer starts where it was asked to (RFC 9110, 14.4).
fn starts_at(response: &Response, offset: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE);
    let text = range.and_then(|range| range.to_str().ok());
    text.is_some_and(|text| text.starts_with(&format!("bytes {offset}-")))
}

async fn announced_length(url: &str) -> Result<Bytes, BundleError> {
    let response = get(url).await?;
    let length = response.content_length().map(Bytes::new);
    length.ok_or_else(|| BundleError::Unsupported {
        location: url.to_owned(),
        problem: "its server does not tell its length".to_owned(),
    })
}

async fn read_url(url: &str, limit: Bytes) -> Result<Vec<u8>, BundleError> {
    let mut response = get(url).await?;
    let mut bytes = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| unavailable(url, &error))?
    {
        bytes.extend_from_slice(&chunk);
        if limit.get() < bytes.len() as u64 {
            break;
        }
    }
    Ok(bytes)
}

async fn get(url: &str) -> Result<Response, BundleError> {
    let response = client(url)?.get(url).send().await;
    let response = response.map_err(|error| unavailable(url, &error))?;
    check_status(url, &response)?;
    Ok(response)
}

fn client(url: &str) -> Result<Client, BundleError> {
    install_tls_provider();
    let client = Client::builder()
        .user_agent(concat!("banger/", env!("CARGO_PKG_VERSION")))
        // the library never looks at the environment
        .no_proxy()
        .referer(false)
        .https_only(url.starts_with("https:"))
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .build();
    client.map_err(|error| unavailable(url, &error))
}

fn check_status(url: &str, response: &Response) -> Result<(), BundleError> {
    let status = response.status();
    let location = url.to_owned();
    Err(match status {
        _ if status.is_success() => return Ok(()),
        StatusCode::NOT_FOUND | StatusCode::GONE => BundleError::NotFound { location },
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => BundleError::Unauthorised {
            location,
            reason: format!("the server answered {status}"),
        },
        _ => refusal(url, &format!("the server answered {status}")),
    })
}

fn refusal(url: &str, reason: &str) -> BundleError {
    BundleError::Unavailable {
        location: url.to_owned(),
        reason: reason.to_owned(),
    }
}

/// The whole chain of causes on one line: the outermost says the least.
fn unavailable(url: &str, error: &reqwest::Error) -> BundleError {
    let mut reason = String::new();
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if !reason.is_empty() {
            reason += ": ";
        }
        reason += &error.to_string();
        cause = error.source();
    }
    refusal(url, &reason)
}

fn read_file(name: &str, path: &Utf8Path, limit: Bytes) -> Result<Vec<u8>, BundleError> {
    let file = open_file(&name, path, limit)?;
    let read = file.read_at_most(limit.get() + 1);
    read.map_err(|error| {
        BundleError::io(&name)(crate::host_fs::PathError::new("read", path, error))
    })
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
