//! Choosing one platform's manifest from an index.

use std::fmt;

use super::document::{IndexEntry, MediaType};

/// The platform whose manifest is wanted (OCI image-spec, `image-index.md`,
/// with the values of the Go language).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// GOOS.
    pub os: String,
    /// GOARCH.
    pub architecture: String,
    /// CPU variant, as `v8`.
    pub variant: Option<String>,
}

impl Platform {
    /// Linux on this host's architecture.
    #[must_use]
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "aarch64" => ("arm64", Some("v8".to_owned())),
            other => (other, None),
        };
        Self {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant,
        }
    }

    /// How well `offered` serves this platform: 0 is best, none not at all.
    /// A missing variant runs everywhere; another variant than the wanted one
    /// may use instructions that the host lacks.
    fn distance(&self, offered: &Self) -> Option<u8> {
        if offered.os != self.os || offered.architecture != self.architecture {
            return None;
        }
        match (&self.variant, &offered.variant) {
            (wanted, offered) if wanted == offered => Some(0),
            (_, None) => Some(1),
            // the baseline of amd64 runs on every amd64
            (None, Some(variant)) if variant == "v1" => Some(2),
            _ => None,
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant
            .as_ref()
            .map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

/// The entry that serves `platform` best; of equals, the first. An index
/// without a platform is taken when nothing else fits: it may lead further.
/// Entries that are neither index nor manifest (artifacts) are passed over.
pub(super) fn choose<'a>(entries: &'a [IndexEntry], platform: &Platform) -> Option<&'a IndexEntry> {
    let distance = |entry: &&IndexEntry| match (entry.media_type, &entry.platform) {
        (MediaType::Other, _) | (MediaType::Manifest, None) => None,
        (_, Some(offered)) => platform.distance(offered),
        (MediaType::Index, None) => Some(u8::MAX),
    };
    entries
        .iter()
        .filter(|entry| distance(entry).is_some())
        .min_by_key(distance)
}

/// The platforms an index offers, for a message; attestations name none.
pub(super) fn offered(entries: &[IndexEntry]) -> String {
    let platforms: Vec<String> = entries
        .iter()
        .filter_map(|entry| entry.platform.as_ref())
        .filter(|platform| platform.os != "unknown")
        .map(ToString::to_string)
        .take(20)
        .collect();
    if platforms.is_empty() {
        "none".to_owned()
    } else {
        platforms.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Bytes, Digest};

    fn platform(text: &str) -> Platform {
        let mut parts = text.split('/').map(str::to_owned);
        Platform {
            os: parts.next().unwrap(),
            architecture: parts.next().unwrap(),
            variant: parts.next(),
        }
    }

    fn entry(offered: &str) -> IndexEntry {
        IndexEntry {
            media_type: MediaType::Manifest,
            digest: Digest::of(offered.as_bytes()),
            size: Bytes::new(1),
            platform: (!offered.is_empty()).then(|| platform(offered)),
            tag: None,
        }
    }

    #[test]
    fn the_best_platform_is_chosen() {
        let cases: [(&str, &[&str], Option<&str>); 8] = [
            (
                "linux/amd64",
                &["unknown/unknown", "linux/arm64/v8", "linux/amd64"],
                Some("linux/amd64"),
            ),
            (
                "linux/amd64",
                &["linux/amd64/v3", "linux/amd64"],
                Some("linux/amd64"),
            ),
            ("linux/amd64", &["linux/amd64/v3"], None),
            ("linux/amd64", &["linux/amd64/v1"], Some("linux/amd64/v1")),
            (
                "linux/arm64/v8",
                &["linux/arm64", "linux/arm64/v8"],
                Some("linux/arm64/v8"),
            ),
            (
                "linux/arm64/v8",
                &["linux/arm/v7", "linux/arm64"],
                Some("linux/arm64"),
            ),
            ("linux/amd64", &["windows/amd64"], None),
            ("linux/amd64", &[""], None),
        ];
        for (wanted, offers, expected) in cases {
            let entries: Vec<IndexEntry> = offers.iter().map(|offer| entry(offer)).collect();
            let chosen = choose(&entries, &platform(wanted)).map(|entry| entry.digest);
            let expected = expected.map(|offer| Digest::of(offer.as_bytes()));
            assert_eq!(chosen, expected, "{wanted} of {offers:?}");
        }
    }

    #[test]
    fn an_index_without_platform_is_the_last_resort_and_artifacts_are_none() {
        let wanted = platform("linux/amd64");
        let manifest = entry("linux/amd64");
        let index = IndexEntry {
            media_type: MediaType::Index,
            ..entry("")
        };
        let artifact = IndexEntry {
            media_type: MediaType::Other,
            ..entry("linux/amd64")
        };
        let entries = [artifact.clone(), index.clone(), manifest.clone()];
        assert_eq!(choose(&entries, &wanted), Some(&manifest));
        let entries = [artifact.clone(), index.clone()];
        assert_eq!(choose(&entries, &wanted), Some(&index));
        assert_eq!(choose(&[artifact], &wanted), None);
    }

    #[test]
    fn a_message_lists_what_is_offered() {
        let entries = [
            entry("linux/arm64/v8"),
            entry("unknown/unknown"),
            entry("windows/amd64"),
        ];
        assert_eq!(offered(&entries), "linux/arm64/v8, windows/amd64");
    }
}
