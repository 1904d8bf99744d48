//! From a root document to one platform's image, whatever the source.

use async_trait::async_trait;

use super::{
    Platform, ResolvedImage, SourceError,
    config::resolve,
    document::{Blob, Document, IndexEntry, MAX_CONFIG, MAX_MANIFEST, Manifest, parse_document},
    platform::{choose, offered},
    problem::Problem,
};
use crate::domain::Digest;

/// How many indexes may point at each other.
const MAX_INDEX_DEPTH: usize = 4;

/// Small documents of a source. Each answer has been verified against the
/// digest it was asked for by.
#[async_trait]
pub(super) trait Documents: Sync {
    /// The manifest or index with that digest.
    async fn document(&self, blob: &Blob) -> Result<Vec<u8>, SourceError>;

    /// The configuration with that digest.
    async fn config(&self, blob: &Blob) -> Result<Vec<u8>, SourceError>;

    /// How the source is called in messages.
    fn reference(&self) -> &str;
}

/// Follows `root` to the platform's manifest and reads its configuration.
pub(super) async fn resolve_image(
    documents: &dyn Documents,
    root: (Digest, Vec<u8>),
    platform: &Platform,
) -> Result<ResolvedImage, SourceError> {
    let named = root.0;
    let (digest, manifest) = platform_manifest(documents, root, platform).await?;
    check_size(documents, &manifest.config, MAX_CONFIG, "configuration")?;
    let config = documents.config(&manifest.config).await?;
    let resolved = resolve((digest, &manifest), &config, platform);
    let resolved = resolved.map_err(|problem| problem.of(documents.reference()))?;
    Ok(ResolvedImage {
        root: named,
        ..resolved
    })
}

async fn platform_manifest(
    documents: &dyn Documents,
    root: (Digest, Vec<u8>),
    platform: &Platform,
) -> Result<(Digest, Manifest), SourceError> {
    let (mut digest, mut bytes) = root;
    for _ in 0..MAX_INDEX_DEPTH {
        let document =
            parse_document(&bytes).map_err(|problem| problem.of(documents.reference()))?;
        let entries = match document {
            Document::Manifest(manifest) => return Ok((digest, manifest)),
            Document::Index(entries) => entries,
        };
        let blob = choose_entry(documents, &entries, platform)?;
        bytes = documents.document(&blob).await?;
        digest = blob.digest;
    }
    let problem = format!("more than {MAX_INDEX_DEPTH} indexes lead to one another");
    Err(Problem::Limit(problem).of(documents.reference()))
}

fn choose_entry(
    documents: &dyn Documents,
    entries: &[IndexEntry],
    platform: &Platform,
) -> Result<Blob, SourceError> {
    let entry = choose(entries, platform).ok_or_else(|| SourceError::NoPlatform {
        reference: documents.reference().to_owned(),
        platform: platform.to_string(),
        available: offered(entries),
    })?;
    let blob = Blob {
        digest: entry.digest,
        size: entry.size,
    };
    check_size(documents, &blob, MAX_MANIFEST, "manifest")?;
    Ok(blob)
}

/// Refuses a claimed size before a byte is read.
pub(super) fn check_size(
    documents: &dyn Documents,
    blob: &Blob,
    limit: u64,
    what: &str,
) -> Result<(), SourceError> {
    if blob.size.get() <= limit {
        return Ok(());
    }
    let problem = format!(
        "its {what} has {} bytes, more than {limit}",
        blob.size.get()
    );
    Err(Problem::Limit(problem).of(documents.reference()))
}
