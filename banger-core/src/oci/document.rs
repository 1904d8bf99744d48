//! Index, manifest and configuration: from bytes to checked values.
//!
//! Pure; every problem is a sentence that the caller puts beside the
//! reference. Formats: OCI image-spec `image-index.md`, `manifest.md`,
//! `config.md`, and docker's image manifest version 2, schema 2.

use serde::Deserialize;

use super::{Compression, LayerDescriptor, Platform, ResolvedImage};
use crate::domain::{Bytes, Digest, RunConfig};

/// Largest manifest or index (the distribution-spec's own bound).
pub(super) const MAX_MANIFEST: u64 = 4 * Bytes::MIB;
/// Largest configuration.
pub(super) const MAX_CONFIG: u64 = 16 * Bytes::MIB;
/// Most layers of an image; overlayfs itself takes 500.
const MAX_LAYERS: usize = 512;
/// Most entries of an index that are looked at.
const MAX_INDEX_ENTRIES: usize = 4096;

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
            "application/vnd.oci.image.index.v1+json"
            | "application/vnd.docker.distribution.manifest.list.v2+json" => Self::Index,
            "application/vnd.oci.image.manifest.v1+json"
            | "application/vnd.docker.distribution.manifest.v2+json" => Self::Manifest,
            _ => Self::Other,
        }
    }
}

/// Media types to ask a registry for.
pub(super) const ACCEPTED_MEDIA_TYPES: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
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
    layers: Vec<(Blob, Compression)>,
}

/// A named blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Blob {
    pub(super) digest: Digest,
    pub(super) size: Bytes,
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

#[derive(Deserialize)]
struct RawConfig {
    created: Option<String>,
    #[serde(default)]
    config: Option<RawRunConfig>,
    rootfs: RawRootfs,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct RawRunConfig {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
    user: Option<String>,
    working_dir: Option<String>,
}

#[derive(Deserialize)]
struct RawRootfs {
    #[serde(default)]
    diff_ids: Option<Vec<String>>,
}

/// Reads an index or manifest.
pub(super) fn parse_document(bytes: &[u8]) -> Result<Document, String> {
    let raw: RawDocument = serde_json::from_slice(bytes)
        .map_err(|error| format!("the manifest is not valid: {error}"))?;
    if raw.schema_version == Some(1) {
        return Err("its manifest has schema version 1, which is obsolete".to_owned());
    }
    match (media_type(&raw), raw.manifests, raw.config, raw.layers) {
        (MediaType::Index, Some(entries), ..) => index(entries).map(Document::Index),
        (MediaType::Manifest, _, Some(config), Some(layers)) => {
            manifest(&config, &layers).map(Document::Manifest)
        }
        _ => Err("its manifest is neither an image index nor an image manifest".to_owned()),
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

fn index(raw: Vec<RawDescriptor>) -> Result<Vec<IndexEntry>, String> {
    if MAX_INDEX_ENTRIES < raw.len() {
        return Err(format!(
            "its index has more than {MAX_INDEX_ENTRIES} entries"
        ));
    }
    raw.into_iter().map(index_entry).collect()
}

fn index_entry(raw: RawDescriptor) -> Result<IndexEntry, String> {
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

fn manifest(config: &RawDescriptor, layers: &[RawDescriptor]) -> Result<Manifest, String> {
    if MAX_LAYERS < layers.len() {
        return Err(format!(
            "it has {} layers; at most {MAX_LAYERS} are read",
            layers.len()
        ));
    }
    let layers = layers
        .iter()
        .map(|raw| Ok::<_, String>((blob(raw)?, compression(raw)?)));
    Ok(Manifest {
        config: blob(config)?,
        layers: layers.collect::<Result<_, _>>()?,
    })
}

fn blob(raw: &RawDescriptor) -> Result<Blob, String> {
    let digest = raw
        .digest
        .parse::<Digest>()
        .map_err(|error| error.to_string())?;
    let size = u64::try_from(raw.size).map_err(|_| format!("blob {digest} has a negative size"))?;
    Ok(Blob {
        digest,
        size: Bytes::new(size),
    })
}

/// How a layer is compressed, by its media type (OCI image-spec, `layer.md`;
/// docker adds its own, among them a zstd one that is nowhere specified).
fn compression(raw: &RawDescriptor) -> Result<Compression, String> {
    let media_type = raw.media_type.as_deref().unwrap_or_default();
    match media_type {
        "application/vnd.oci.image.layer.v1.tar"
        | "application/vnd.docker.image.rootfs.diff.tar" => Ok(Compression::None),
        "application/vnd.oci.image.layer.v1.tar+gzip"
        | "application/vnd.docker.image.rootfs.diff.tar.gzip" => Ok(Compression::Gzip),
        "application/vnd.oci.image.layer.v1.tar+zstd"
        | "application/vnd.docker.image.rootfs.diff.tar.zstd" => Ok(Compression::Zstd),
        _ if media_type.contains("nondistributable") || media_type.contains("foreign") => {
            Err(format!("layer {} may not be distributed", raw.digest))
        }
        _ => Err(format!(
            "layer {} has unknown media type {media_type:?}",
            raw.digest
        )),
    }
}

/// Reads the configuration of `manifest` and puts the image together.
pub(super) fn resolve(
    digest: Digest,
    manifest: &Manifest,
    config: &[u8],
) -> Result<ResolvedImage, String> {
    let raw: RawConfig = serde_json::from_slice(config)
        .map_err(|error| format!("its configuration is not valid: {error}"))?;
    let diff_ids = raw.rootfs.diff_ids.unwrap_or_default();
    if diff_ids.len() != manifest.layers.len() {
        let (named, there) = (diff_ids.len(), manifest.layers.len());
        return Err(format!(
            "its configuration names {named} layers, its manifest {there}"
        ));
    }
    let layers = manifest
        .layers
        .iter()
        .zip(&diff_ids)
        .map(|((blob, compression), diff_id)| {
            let diff_id = diff_id
                .parse::<Digest>()
                .map_err(|error| error.to_string())?;
            Ok::<_, String>(LayerDescriptor {
                digest: blob.digest,
                size: blob.size,
                compression: *compression,
                diff_id,
            })
        });
    Ok(ResolvedImage {
        manifest: digest,
        layers: layers.collect::<Result<_, _>>()?,
        run_config: run_config(raw.config.unwrap_or_default()),
        created_unix: raw.created.as_deref().and_then(unix_seconds),
    })
}

fn run_config(raw: RawRunConfig) -> RunConfig {
    RunConfig {
        entrypoint: raw.entrypoint.unwrap_or_default(),
        cmd: raw.cmd.unwrap_or_default(),
        env: raw.env.unwrap_or_default(),
        user: raw.user.unwrap_or_default(),
        working_directory: raw.working_dir.unwrap_or_default(),
    }
}

/// RFC 3339, as `config.md` wants it; anything else counts as not given.
fn unix_seconds(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>()
        .ok()
        .map(jiff::Timestamp::as_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(media_type: &str) -> String {
        let digest = Digest::of(media_type.as_bytes());
        format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":7}}"#)
    }

    fn manifest_with(layer: &str) -> Result<Document, String> {
        let config = descriptor("application/vnd.oci.image.config.v1+json");
        let text = format!(
            r#"{{"schemaVersion":2,"config":{config},"layers":[{}]}}"#,
            descriptor(layer)
        );
        parse_document(text.as_bytes())
    }

    fn config(diff_ids: &str) -> String {
        format!(
            r#"{{"created":"2024-01-02T03:04:05.5Z","config":{{"Cmd":["sh"],"User":"1","Env":null}},
            "rootfs":{{"type":"layers","diff_ids":[{diff_ids}]}}}}"#
        )
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
                "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
                None,
            ),
            ("application/x-unknown", None),
        ];
        for (media_type, expected) in cases {
            let found = match manifest_with(media_type) {
                Ok(Document::Manifest(manifest)) => Some(manifest.layers[0].1),
                Ok(Document::Index(_)) => panic!("a manifest was taken for an index"),
                Err(_) => None,
            };
            assert_eq!(found, expected, "{media_type}");
        }
    }

    #[test]
    fn a_configuration_must_name_as_many_layers_as_the_manifest() {
        let Ok(Document::Manifest(manifest)) =
            manifest_with("application/vnd.oci.image.layer.v1.tar")
        else {
            panic!("not a manifest")
        };
        let digest = Digest::of(b"d");
        let image = resolve(
            digest,
            &manifest,
            config(&format!("\"{digest}\"")).as_bytes(),
        )
        .unwrap();
        assert_eq!(image.run_config.cmd, ["sh"]);
        assert_eq!(image.created_unix, Some(1_704_164_645));
        assert_eq!(image.layers[0].diff_id, digest);
        for diff_ids in [
            String::new(),
            "\"sha256:x\"".to_owned(),
            format!("\"{digest}\",\"{digest}\""),
        ] {
            assert!(
                resolve(digest, &manifest, config(&diff_ids).as_bytes()).is_err(),
                "{diff_ids}"
            );
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
}
