//! Artifacts in a registry: manifests whose layers are files and no image
//! (OCI image-spec `manifest.md`, "Guidelines for Artifact Usage").
//!
//! Invariants: the manifest matches the digest of its reference, where that
//! has one; a file is known by its media type, of which there is just one.

use std::collections::BTreeMap;

use futures_util::FutureExt as _;
use serde::Deserialize;

use super::{
    SourceError,
    document::{Blob, MAX_MANIFEST},
    problem::Problem,
    registry::RegistrySource,
};
use crate::domain::{Bytes, Digest};

/// Most files that are looked at.
const MAX_FILES: usize = 4096;

/// An artifact whose manifest was read.
#[derive(Debug)]
pub(crate) struct Artifact {
    source: RegistrySource,
    files: Vec<ArtifactFile>,
}

/// A file as a manifest tells of it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ArtifactFile {
    #[serde(default)]
    pub(super) media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct RawManifest {
    #[serde(default)]
    layers: Vec<ArtifactFile>,
}

impl Artifact {
    /// Reads the manifest that the source's reference names.
    pub(super) async fn read(source: RegistrySource) -> Result<Self, SourceError> {
        let (_, bytes) = source.manifest(None).await?;
        let files = files(&bytes, "manifest");
        let files = files.map_err(|problem| problem.of(source.session.reference()))?;
        Ok(Self { source, files })
    }

    /// The file of that media type, if there is one; several are refused.
    pub(crate) fn file(&self, media_type: &str) -> Result<Option<Blob>, SourceError> {
        let of = |problem: Problem| problem.of(self.source.session.reference());
        let mut found = self
            .files
            .iter()
            .filter(|file| file.media_type == media_type);
        match (found.next(), found.next()) {
            (None, _) => Ok(None),
            (Some(file), None) => file.blob().map(Some).map_err(of),
            (Some(_), Some(_)) => {
                let problem = format!("it has several files of type {media_type}");
                Err(of(Problem::Malformed(problem)))
            }
        }
    }

    /// The same where there has to be one.
    pub(crate) fn required(&self, media_type: &str) -> Result<Blob, SourceError> {
        self.file(media_type)?.ok_or_else(|| {
            let problem = format!("it has no file of type {media_type}");
            Problem::Unsupported(problem).of(self.source.session.reference())
        })
    }

    /// The bytes of a file of at most `limit`.
    pub(crate) async fn read_file(&self, blob: Blob, limit: Bytes) -> Result<Vec<u8>, SourceError> {
        if limit < blob.size {
            let problem = format!("its file {} has more than {limit}", blob.digest);
            return Err(Problem::Limit(problem).of(self.source.session.reference()));
        }
        let attempt = |endpoint| self.source.small_blob(endpoint, blob).boxed();
        self.source.session.call(attempt).await
    }
}

impl ArtifactFile {
    pub(super) fn blob(&self) -> Result<Blob, Problem> {
        let digest: Result<Digest, _> = self.digest.parse();
        Ok(Blob {
            digest: digest.map_err(|error| Problem::Malformed(error.to_string()))?,
            size: Bytes::new(self.size),
        })
    }
}

/// The files of a manifest, which is called `what` in messages.
pub(super) fn files(bytes: &[u8], what: &str) -> Result<Vec<ArtifactFile>, Problem> {
    if MAX_MANIFEST < bytes.len() as u64 {
        let problem = format!("the {what} has more than {MAX_MANIFEST} bytes");
        return Err(Problem::Limit(problem));
    }
    let manifest: RawManifest = serde_json::from_slice(bytes)
        .map_err(|error| Problem::Malformed(format!("the {what} is not valid: {error}")))?;
    if MAX_FILES < manifest.layers.len() {
        let problem = format!("the {what} has more than {MAX_FILES} files");
        return Err(Problem::Limit(problem));
    }
    Ok(manifest.layers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_listed_and_hostile_manifests_are_refused() {
        let digest = Digest::of(b"file");
        let file = format!(r#"{{"mediaType":"a/b","digest":"{digest}","size":4}}"#);
        let manifest = |files: &[String]| format!(r#"{{"layers":[{}]}}"#, files.join(","));
        let found = files(manifest(std::slice::from_ref(&file)).as_bytes(), "manifest").unwrap();
        let blob = found[0].blob().unwrap();
        assert_eq!((found[0].media_type.as_str(), blob.digest), ("a/b", digest));
        assert!(files(b"{}", "manifest").unwrap().is_empty());
        let many = manifest(&vec![file.clone(); MAX_FILES + 1]);
        let negative = manifest(&[file.replace(":4}", ":-4}")]);
        for text in [many.as_str(), &negative, "[", "null"] {
            assert!(files(text.as_bytes(), "manifest").is_err());
        }
        let other = manifest(&[file.replace("sha256:", "sha512:")]);
        assert!(
            files(other.as_bytes(), "manifest").unwrap()[0]
                .blob()
                .is_err()
        );
    }
}
