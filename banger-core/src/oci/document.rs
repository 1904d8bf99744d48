//! Index and manifest: from bytes to checked values.
//!
//! Pure. Formats: OCI image-spec `image-index.md`, `manifest.md`, and docker's
//! image manifest version 2, schema 2.

use oci_client::manifest::{
    IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE,
    OCI_IMAGE_MEDIA_TYPE,
};
use serde::Deserialize;

use super::{Compression, Platform, problem::Problem};
use crate::domain::{Bytes, Digest};

/// Largest manifest or index (the distribution-spec's own bound).
pub(super) const MAX_MANIFEST: u64 = 4 * Bytes::MIB;
/// Largest configuration.
pub(super) const MAX_CONFIG: u64 = 16 * Bytes::MIB;
/// Largest layer as stored: what a disk may inflate to.
pub(super) const MAX_LAYER: u64 = 64 * Bytes::GIB;
/// Most layers of an image; overlayfs itself takes 500.
pub(super) const MAX_LAYERS: usize = 512;
/// Most entries of an index that are looked at.
pub(super) const MAX_INDEX_ENTRIES: usize = 4096;

/// What a document is, by its media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MediaType {
    Index,
    Manifest,
    Other,
}

impl MediaType {
    fn of(text: &str) -> Self {
        match text {
            OCI_IMAGE_INDEX_MEDIA_TYPE | IMAGE_MANIFEST_LIST_MEDIA_TYPE => Self::Index,
            OCI_IMAGE_MEDIA_TYPE | IMAGE_MANIFEST_MEDIA_TYPE => Self::Manifest,
            _ => Self::Other,
        }
    }
}

/// Media types to ask a registry for.
pub(super) const ACCEPTED_MEDIA_TYPES: [&str; 4] = [
    OCI_IMAGE_INDEX_MEDIA_TYPE,
    OCI_IMAGE_MEDIA_TYPE,
    IMAGE_MANIFEST_LIST_MEDIA_TYPE,
    IMAGE_MANIFEST_MEDIA_TYPE,
];

/// An entry of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IndexEntry {
    pub(super) media_type: MediaType,
    pub(super) digest: Digest,
    pub(super) size: Bytes,
    pub(super) platform: Option<Platform>,
    /// `org.opencontainers.image.ref.name`.
    pub(super) tag: Option<String>,
}

/// An index or a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Document {
    Index(Vec<IndexEntry>),
    Manifest(Manifest),
}

/// A manifest of one platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) config: Blob,
    /// Lowest first.
    pub(super) layers: Vec<(Blob, Compression)>,
}

/// A named blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Blob {
    pub(crate) digest: Digest,
    pub(crate) size: Bytes,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDocument {
    media_type: Option<String>,
    schema_version: Option<u32>,
    manifests: Option<Vec<RawDescriptor>>,
    config: Option<RawDescriptor>,
    layers: Option<Vec<RawDescriptor>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    media_type: Option<String>,
    digest: String,
    size: i64,
    platform: Option<RawPlatform>,
    #[serde(default)]
    annotations: Option<std::collections::HashMap<String, String>>,
}

#[derive(Deserialize)]
struct RawPlatform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    variant: Option<String>,
}

/// Reads an index or manifest.
pub(super) fn parse_document(bytes: &[u8]) -> Result<Document, Problem> {
    let raw: RawDocument = serde_json::from_slice(bytes)
        .map_err(|error| Problem::Malformed(format!("its manifest is not valid: {error}")))?;
    if raw.schema_version == Some(1) {
        let problem = "its manifest has schema version 1, which is obsolete";
        return Err(Problem::Unsupported(problem.to_owned()));
    }
    match (media_type(&raw), raw.manifests, raw.config, raw.layers) {
        (MediaType::Index, Some(entries), ..) => index(entries).map(Document::Index),
        (MediaType::Manifest, _, Some(config), Some(layers)) => {
            manifest(&config, &layers).map(Document::Manifest)
        }
        _ => Err(Problem::Malformed(
            "its manifest is neither an image index nor an image manifest".to_owned(),
        )),
    }
}

/// The media type, or what the members say where it is missing, as OCI allows.
fn media_type(raw: &RawDocument) -> MediaType {
    match (&raw.media_type, &raw.manifests) {
        (Some(text), _) => MediaType::of(text),
        (None, Some(_)) => MediaType::Index,
        (None, None) => MediaType::Manifest,
    }
}

fn index(raw: Vec<RawDescriptor>) -> Result<Vec<IndexEntry>, Problem> {
    if MAX_INDEX_ENTRIES < raw.len() {
        let problem = format!("its index has more than {MAX_INDEX_ENTRIES} entries");
        return Err(Problem::Limit(problem));
    }
    raw.into_iter().map(index_entry).collect()
}

fn index_entry(raw: RawDescriptor) -> Result<IndexEntry, Problem> {
    let Blob { digest, size } = blob(&raw)?;
    let tag = raw
        .annotations
        .and_then(|mut annotations| annotations.remove("org.opencontainers.image.ref.name"));
    let platform = raw.platform.map(|raw| Platform {
        os: raw.os,
        architecture: raw.architecture,
        variant: raw.variant.filter(|variant| !variant.is_empty()),
    });
    let media_type = MediaType::of(raw.media_type.as_deref().unwrap_or_default());
    Ok(IndexEntry {
        media_type,
        digest,
        size,
        platform,
        tag,
    })
}

fn manifest(config: &RawDescriptor, layers: &[RawDescriptor]) -> Result<Manifest, Problem> {
    if MAX_LAYERS < layers.len() {
        let problem = format!("it has {} layers, more than {MAX_LAYERS}", layers.len());
        return Err(Problem::Limit(problem));
    }
    let layers = layers.iter().map(layer);
    Ok(Manifest {
        config: blob(config)?,
        layers: layers.collect::<Result<_, _>>()?,
    })
}

fn layer(raw: &RawDescriptor) -> Result<(Blob, Compression), Problem> {
    let blob = blob(raw)?;
    if MAX_LAYER < blob.size.get() {
        let problem = format!(
            "its layer {} has {}, more than 64 GiB",
            blob.digest, blob.size
        );
        return Err(Problem::Limit(problem));
    }
    Ok((blob, compression(raw)?))
}

fn blob(raw: &RawDescriptor) -> Result<Blob, Problem> {
    let digest = raw
        .digest
        .parse::<Digest>()
        .map_err(|error| Problem::Malformed(error.to_string()))?;
    let size = u64::try_from(raw.size)
        .map_err(|_| Problem::Malformed(format!("blob {digest} has a negative size")))?;
    Ok(Blob {
        digest,
        size: Bytes::new(size),
    })
}

/// How a layer is compressed, by its media type (OCI image-spec, `layer.md`;
/// docker adds its own, among them a zstd one that is nowhere specified).
fn compression(raw: &RawDescriptor) -> Result<Compression, Problem> {
    let media_type = raw.media_type.as_deref().unwrap_or_default();
    match media_type {
        "application/vnd.oci.image.layer.v1.tar"
        | "application/vnd.docker.image.rootfs.diff.tar" => Ok(Compression::None),
        "application/vnd.oci.image.layer.v1.tar+gzip"
        | "application/vnd.docker.image.rootfs.diff.tar.gzip" => Ok(Compression::Gzip),
        "application/vnd.oci.image.layer.v1.tar+zstd"
        | "application/vnd.docker.image.rootfs.diff.tar.zstd" => Ok(Compression::Zstd),
        _ if media_type.contains("nondistributable") || media_type.contains("foreign") => {
            let problem = format!(
                "layer {} may not be distributed, so no registry has it",
                raw.digest
            );
            Err(Problem::Unsupported(problem))
        }
        _ => {
            let media_type: String = media_type.chars().take(100).collect();
            let problem = format!("layer {} has unknown media type {media_type:?}", raw.digest);
            Err(Problem::Unsupported(problem))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(media_type: &str) -> String {
        let digest = Digest::of(media_type.as_bytes());
        format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":7}}"#)
    }

    fn manifest_with(layer: &str) -> Result<Document, Problem> {
        let config = descriptor("application/vnd.oci.image.config.v1+json");
        let text = format!(
            r#"{{"schemaVersion":2,"config":{config},"layers":[{}]}}"#,
            descriptor(layer)
        );
        parse_document(text.as_bytes())
    }

    #[test]
    fn layers_of_every_known_kind_are_read_and_others_refused() {
        let cases = [
            (
                "application/vnd.oci.image.layer.v1.tar",
                Some(Compression::None),
            ),
            (
                "application/vnd.oci.image.layer.v1.tar+gzip",
                Some(Compression::Gzip),
            ),
            (
                "application/vnd.docker.image.rootfs.diff.tar.gzip",
                Some(Compression::Gzip),
            ),
            (
                "application/vnd.docker.image.rootfs.diff.tar.zstd",
                Some(Compression::Zstd),
            ),
            (
                "application/vnd.oci.image.layer.v1.tar+zstd",
                Some(Compression::Zstd),
            ),
            (
                "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
                None,
            ),
            (
                "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
                None,
            ),
            ("application/x-unknown", None),
        ];
        for (media_type, expected) in cases {
            let found = match manifest_with(media_type) {
                Ok(Document::Manifest(manifest)) => Some(manifest.layers[0].1),
                Ok(Document::Index(_)) => panic!("a manifest was taken for an index"),
                Err(Problem::Unsupported(_)) => None,
                Err(problem) => panic!("{media_type}: {problem:?}"),
            };
            assert_eq!(found, expected, "{media_type}");
        }
    }

    #[test]
    fn an_index_keeps_platforms_and_tags() {
        let digest = Digest::of(b"m");
        let text = format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json",
            "digest":"{digest}","size":5,"platform":{{"os":"linux","architecture":"amd64"}},
            "annotations":{{"org.opencontainers.image.ref.name":"t"}}}}]}}"#
        );
        let Ok(Document::Index(entries)) = parse_document(text.as_bytes()) else {
            panic!("not an index")
        };
        assert_eq!(entries[0].tag.as_deref(), Some("t"));
        assert_eq!(
            entries[0].platform.as_ref().unwrap().to_string(),
            "linux/amd64"
        );
    }

    #[test]
    fn hostile_documents_are_refused() {
        let digest = Digest::of(b"m");
        let negative = format!(r#"{{"manifests":[{{"digest":"{digest}","size":-1}}]}}"#);
        let sha512 = format!(
            r#"{{"manifests":[{{"digest":"sha512:{}","size":1}}]}}"#,
            "0".repeat(128)
        );
        let texts = [
            "",
            "{}",
            "[]",
            "null",
            r#"{"schemaVersion":1,"layers":[]}"#,
            negative.as_str(),
            sha512.as_str(),
        ];
        for text in texts {
            assert!(parse_document(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn claims_beyond_the_limits_are_refused() {
        let layer = descriptor("application/vnd.oci.image.layer.v1.tar");
        let config = descriptor("application/vnd.oci.image.config.v1+json");
        let manifest = |layers: &[String]| {
            let layers = layers.join(",");
            let text = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layers}]}}"#);
            parse_document(text.as_bytes())
        };
        let index = |entries: usize| {
            let entries = vec![layer.clone(); entries].join(",");
            parse_document(format!(r#"{{"manifests":[{entries}]}}"#).as_bytes())
        };
        let huge = layer.replace(r#""size":7"#, &format!(r#""size":{}"#, MAX_LAYER + 1));
        assert!(manifest(&vec![layer.clone(); MAX_LAYERS]).is_ok());
        assert!(index(MAX_INDEX_ENTRIES).is_ok());
        for document in [
            manifest(&vec![layer.clone(); MAX_LAYERS + 1]),
            manifest(&[huge]),
            index(MAX_INDEX_ENTRIES + 1),
        ] {
            assert!(matches!(document, Err(Problem::Limit(_))), "{document:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_document_panics(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            drop(parse_document(&bytes));
        }
    }
}
