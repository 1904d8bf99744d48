//! The `manifest.json` of docker archives: from bytes to the chosen image.
//!
//! Pure. Format: moby, `image/spec`, "combined image JSON + filesystem
//! changeset format".

use serde::Deserialize;

use super::{
    archive_reference::ArchivedImage,
    document::{MAX_INDEX_ENTRIES, MAX_LAYERS},
    problem::{Problem, listed_tags},
    reference::normalised,
};
use crate::domain::Digest;

/// One image of an archive; its files are named by members.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ArchivedManifest {
    pub(super) config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    /// Lowest first.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub(super) layers: Vec<String>,
}

fn null_as_empty<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// Why no image was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NotChosen {
    Empty,
    Missing { available: String },
    Ambiguous { available: String },
}

/// Reads a `manifest.json`.
pub(super) fn parse_manifests(bytes: &[u8]) -> Result<Vec<ArchivedManifest>, Problem> {
    let manifests: Vec<ArchivedManifest> = serde_json::from_slice(bytes)
        .map_err(|error| Problem::Malformed(format!("its manifest.json is not valid: {error}")))?;
    if MAX_INDEX_ENTRIES < manifests.len() {
        let problem = format!("it has more than {MAX_INDEX_ENTRIES} images");
        return Err(Problem::Limit(problem));
    }
    if manifests
        .iter()
        .any(|manifest| MAX_LAYERS < manifest.layers.len())
    {
        let problem = format!("an image of it has more than {MAX_LAYERS} layers");
        return Err(Problem::Limit(problem));
    }
    Ok(manifests)
}

/// The image that is meant.
pub(super) fn choose(
    manifests: Vec<ArchivedManifest>,
    wanted: &ArchivedImage,
) -> Result<ArchivedManifest, NotChosen> {
    let number = match wanted {
        ArchivedImage::Only if manifests.is_empty() => return Err(NotChosen::Empty),
        ArchivedImage::Only if 1 < manifests.len() => {
            return Err(NotChosen::Ambiguous {
                available: available(&manifests),
            });
        }
        ArchivedImage::Only => Some(0),
        ArchivedImage::Numbered(number) => usize::try_from(*number).ok(),
        ArchivedImage::Named(name) => {
            let name = Ok(name.clone());
            let mut all = manifests.iter();
            all.position(|manifest| manifest.tags().any(|tag| normalised(tag) == name))
        }
    };
    let available = available(&manifests);
    let chosen = number.and_then(|number| manifests.into_iter().nth(number));
    chosen.ok_or(NotChosen::Missing { available })
}

impl ArchivedManifest {
    fn tags(&self) -> impl Iterator<Item = &str> {
        self.repo_tags.iter().flatten().map(String::as_str)
    }
}

fn available(manifests: &[ArchivedManifest]) -> String {
    listed_tags(manifests.iter().flat_map(ArchivedManifest::tags))
}

/// The digest that a file is named by, if it is: `HEX.json`, `sha256:HEX`,
/// `blobs/sha256/HEX`.
pub(super) fn named_digest(name: &str) -> Option<Digest> {
    let last = name.rsplit('/').next()?;
    let last = last.strip_suffix(".json").unwrap_or(last);
    let hex = last.strip_prefix("sha256:").unwrap_or(last);
    format!("sha256:{hex}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(text: &str) -> ArchivedImage {
        match format!("docker-archive:x{text}").parse() {
            Ok(crate::oci::ImageReference::DockerArchive(reference)) => reference.image().clone(),
            other => panic!("{other:?}"),
        }
    }

    fn two() -> Vec<ArchivedManifest> {
        let text = r#"[{"Config":"a","RepoTags":["debian:12","not a tag!"],"Layers":["l"]},
            {"Config":"b","RepoTags":null,"Layers":null},
            {"Config":"c","RepoTags":["ghcr.io/x/y:1"],"Layers":[]}]"#;
        parse_manifests(text.as_bytes()).unwrap()
    }

    #[test]
    fn images_are_chosen_by_name_and_number() {
        for (text, config) in [
            (":debian:12", "a"),
            (":docker.io/library/debian:12", "a"),
            (":ghcr.io/x/y:1", "c"),
            (":@1", "b"),
        ] {
            assert_eq!(
                choose(two(), &wanted(text)).unwrap().config,
                config,
                "{text}"
            );
        }
        let available = "the tags debian:12, not a tag!, ghcr.io/x/y:1".to_owned();
        for text in [":debian", ":@3"] {
            let missing = NotChosen::Missing {
                available: available.clone(),
            };
            assert_eq!(choose(two(), &wanted(text)), Err(missing), "{text}");
        }
        let ambiguous = NotChosen::Ambiguous { available };
        assert_eq!(choose(two(), &wanted("")), Err(ambiguous));
        assert_eq!(choose(Vec::new(), &wanted("")), Err(NotChosen::Empty));
    }

    #[test]
    fn digests_are_read_from_names() {
        let digest = Digest::of(b"x");
        let hex = digest.to_hex();
        for name in [
            format!("{hex}.json"),
            format!("sha256:{hex}"),
            format!("blobs/sha256/{hex}"),
        ] {
            assert_eq!(named_digest(&name), Some(digest), "{name}");
        }
        for name in ["config.json", "", "x/layer.tar", &hex[1..]] {
            assert_eq!(named_digest(name), None, "{name}");
        }
    }

    #[test]
    fn hostile_manifests_are_refused() {
        let layers = vec![r#""x""#; MAX_LAYERS + 1].join(",");
        let deep = format!(r#"[{{"Config":"a","Layers":[{layers}]}}]"#);
        let many = format!(
            "[{}]",
            vec![r#"{"Config":"a"}"#; MAX_INDEX_ENTRIES + 1].join(",")
        );
        for text in [&deep, &many] {
            let refused = parse_manifests(text.as_bytes());
            assert!(matches!(refused, Err(Problem::Limit(_))));
        }
        for text in ["", "{}", "[{}]", "[1]", r#"[{"Config":1}]"#] {
            let refused = parse_manifests(text.as_bytes());
            assert!(matches!(refused, Err(Problem::Malformed(_))), "{text}");
        }
    }
}
