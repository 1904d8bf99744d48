//! The image's configuration: from bytes to a resolved image.
//!
//! Pure. Format: OCI image-spec `config.md`, which docker's is a dialect of.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{LayerDescriptor, Platform, ResolvedImage, document::Manifest, problem::Problem};
use crate::domain::{Digest, RunConfig};

#[derive(Deserialize)]
struct RawConfig {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
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
    stop_signal: Option<String>,
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct RawRootfs {
    #[serde(default)]
    diff_ids: Option<Vec<String>>,
}

fn parse(config: &[u8]) -> Result<RawConfig, Problem> {
    serde_json::from_slice(config)
        .map_err(|error| Problem::Malformed(format!("its configuration is not valid: {error}")))
}

/// What the layers inflate to, lowest first.
pub(super) fn diff_ids(config: &[u8]) -> Result<Vec<Digest>, Problem> {
    let diff_ids = parse(config)?.rootfs.diff_ids.unwrap_or_default();
    diff_ids.iter().map(|text| diff_id(text)).collect()
}

fn diff_id(text: &str) -> Result<Digest, Problem> {
    text.parse::<Digest>()
        .map_err(|error| Problem::Malformed(error.to_string()))
}

/// Reads the configuration of `manifest` and puts the image together.
pub(super) fn resolve(
    (digest, manifest): (Digest, &Manifest),
    config: &[u8],
    wanted: &Platform,
) -> Result<ResolvedImage, Problem> {
    let raw = parse(config)?;
    check_platform(&raw, wanted)?;
    let diff_ids = raw.rootfs.diff_ids.unwrap_or_default();
    Ok(ResolvedImage {
        root: digest,
        manifest: digest,
        layers: layers(manifest, &diff_ids)?,
        run_config: run_config(raw.config.unwrap_or_default()),
        created_unix: raw.created.as_deref().and_then(unix_seconds),
    })
}

/// An image without an index states its platform here alone. The variant is
/// left out of it: many builders write none, or a wrong one.
fn check_platform(raw: &RawConfig, wanted: &Platform) -> Result<(), Problem> {
    let fits = |stated: &str, wanted: &str| stated.is_empty() || stated == wanted;
    if fits(&raw.os, &wanted.os) && fits(&raw.architecture, &wanted.architecture) {
        return Ok(());
    }
    let offered = Platform {
        os: raw.os.chars().take(32).collect(),
        architecture: raw.architecture.chars().take(32).collect(),
        variant: None,
    };
    Err(Problem::Platform {
        wanted: wanted.to_string(),
        offered: offered.to_string(),
    })
}

fn layers(manifest: &Manifest, diff_ids: &[String]) -> Result<Vec<LayerDescriptor>, Problem> {
    let (named, there) = (diff_ids.len(), manifest.layers.len());
    if named != there {
        let problem = format!("its configuration names {named} layers, its manifest {there}");
        return Err(Problem::Malformed(problem));
    }
    let pairs = manifest.layers.iter().zip(diff_ids);
    let layers = pairs.map(|((blob, compression), text)| {
        Ok(LayerDescriptor {
            digest: blob.digest,
            size: blob.size,
            compression: *compression,
            diff_id: diff_id(text)?,
        })
    });
    layers.collect()
}

fn run_config(raw: RawRunConfig) -> RunConfig {
    RunConfig {
        entrypoint: raw.entrypoint.unwrap_or_default(),
        cmd: raw.cmd.unwrap_or_default(),
        env: raw.env.unwrap_or_default(),
        user: raw.user.unwrap_or_default(),
        working_directory: raw.working_dir.unwrap_or_default(),
        stop_signal: raw.stop_signal.unwrap_or_default(),
        labels: raw.labels.unwrap_or_default(),
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
    use crate::{
        domain::Bytes,
        oci::{Compression, document::Blob},
    };

    const AMD64: &str = r#""os":"linux","architecture":"amd64","#;

    fn resolve_with(platform: &str, diff_ids: &str) -> Result<ResolvedImage, Problem> {
        let blob = Blob {
            digest: Digest::of(b"layer"),
            size: Bytes::new(7),
        };
        let manifest = Manifest {
            config: blob,
            layers: vec![(blob, Compression::Gzip)],
        };
        let config = format!(
            r#"{{{platform}"created":"2024-01-02T03:04:05.5Z",
            "config":{{"Cmd":["sh"],"User":"1","Env":null,"Labels":{{"a":"b"}}}},
            "rootfs":{{"type":"layers","diff_ids":[{diff_ids}]}}}}"#
        );
        let wanted = Platform {
            os: "linux".into(),
            architecture: "amd64".into(),
            variant: None,
        };
        resolve(
            (Digest::of(b"manifest"), &manifest),
            config.as_bytes(),
            &wanted,
        )
    }

    #[test]
    fn a_configuration_says_what_to_run_and_what_layers_unpack_to() {
        let digest = Digest::of(b"d");
        let image = resolve_with(AMD64, &format!("\"{digest}\"")).unwrap();
        assert_eq!(image.run_config.cmd, ["sh"]);
        assert_eq!(image.run_config.user, "1");
        assert_eq!(image.run_config.labels["a"], "b");
        assert_eq!(image.created_unix, Some(1_704_164_645));
        assert_eq!(image.layers[0].diff_id, digest);
    }

    #[test]
    fn a_configuration_must_name_as_many_layers_as_the_manifest() {
        let digest = Digest::of(b"d");
        for diff_ids in [
            String::new(),
            "\"sha256:x\"".to_owned(),
            format!("\"{digest}\",\"{digest}\""),
        ] {
            let refused = resolve_with(AMD64, &diff_ids);
            assert!(matches!(refused, Err(Problem::Malformed(_))), "{diff_ids}");
        }
    }

    #[test]
    fn an_image_of_another_platform_is_refused() {
        let diff_id = format!("\"{}\"", Digest::of(b"d"));
        for (platform, fits) in [
            (AMD64, true),
            ("", true),
            (r#""os":"linux","architecture":"arm64","#, false),
            (r#""os":"windows","architecture":"amd64","#, false),
        ] {
            let resolved = resolve_with(platform, &diff_id);
            assert_eq!(resolved.is_ok(), fits, "{platform}: {resolved:?}");
        }
    }
}
