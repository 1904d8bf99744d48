//! A catalog's document: from bytes to checked entries. Pure.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::{
    bundle::{BundleReference, Location},
    domain::{Bytes, Digest, ImageName, KernelName},
    kernel::KernelSource,
};

/// Raised with every change that a reader must know of.
const FORMAT: u32 = 1;
/// Most entries of each sort.
const MAX_ENTRIES: usize = 10_000;
const MAX_TEXT: usize = 1000;

/// What a catalog offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Document {
    pub(super) kernels: Vec<CatalogEntry>,
    pub(super) images: Vec<CatalogEntry>,
}

/// A kernel or an image that a catalog offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogEntry {
    /// What it is asked for by; also the name it is kept under.
    pub name: String,
    /// The catalog's name.
    pub catalog: String,
    /// Distribution, if told.
    pub distribution: Option<String>,
    /// Architecture, as `uname -m` says it.
    pub architecture: String,
    /// Version, if told.
    pub version: Option<String>,
    /// What it is, in a line.
    pub description: Option<String>,
    /// Where it is.
    pub source: EntrySource,
}

/// Where a catalog's entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntrySource {
    /// A kernel package, which the host's own apt fetches and verifies.
    Apt(String),
    /// A bundle of these very bytes.
    Bundle {
        /// Where, and its digest.
        reference: BundleReference,
        /// Its length.
        size: Bytes,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDocument {
    format: u32,
    #[serde(default)]
    kernels: Vec<RawEntry>,
    #[serde(default)]
    images: Vec<RawEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    name: String,
    distribution: Option<String>,
    architecture: String,
    version: Option<String>,
    source: String,
    sha256: Option<String>,
    size: Option<u64>,
    description: Option<String>,
}

/// Reads the document of the catalog `name`, which lies at `location`; the
/// embedded one lies nowhere.
pub(super) fn parse(
    name: &str,
    location: Option<&Location>,
    bytes: &[u8],
) -> Result<Document, String> {
    let raw: RawDocument = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if raw.format != FORMAT {
        return Err(format!("it has format {}, not {FORMAT}", raw.format));
    }
    let entries = |raw: Vec<RawEntry>, check: fn(&str) -> Result<(), String>| {
        if MAX_ENTRIES < raw.len() {
            return Err(format!("it has more than {MAX_ENTRIES} entries"));
        }
        let entries = raw.into_iter().map(|raw| {
            check(&raw.name)?;
            let text = raw.name.clone();
            entry(name, location, raw).map_err(|problem| format!("in entry {text}, {problem}"))
        });
        unique(entries.collect::<Result<_, _>>()?)
    };
    let document = Document {
        kernels: entries(raw.kernels, is_kernel_name)?,
        images: entries(raw.images, is_image_name)?,
    };
    let is_package = |entry: &CatalogEntry| matches!(entry.source, EntrySource::Apt(_));
    if document.images.iter().any(is_package) {
        return Err("an image comes from apt, which has none".to_owned());
    }
    Ok(document)
}

fn is_kernel_name(text: &str) -> Result<(), String> {
    let parsed = text.parse::<KernelName>();
    parsed.map(drop).map_err(|error| error.to_string())
}

fn is_image_name(text: &str) -> Result<(), String> {
    let parsed = text.parse::<ImageName>();
    parsed.map(drop).map_err(|error| error.to_string())
}

fn entry(
    catalog: &str,
    location: Option<&Location>,
    raw: RawEntry,
) -> Result<CatalogEntry, String> {
    let source = source(location, &raw)?;
    Ok(CatalogEntry {
        source,
        catalog: catalog.to_owned(),
        distribution: optional_line(raw.distribution)?,
        architecture: line(raw.architecture)?,
        version: optional_line(raw.version)?,
        description: optional_line(raw.description)?,
        name: raw.name,
    })
}

fn source(location: Option<&Location>, raw: &RawEntry) -> Result<EntrySource, String> {
    if raw.source.starts_with("apt:") {
        if raw.sha256.is_some() || raw.size.is_some() {
            return Err("a package has no sha256 or size here: apt knows them".to_owned());
        }
        return match raw.source.parse() {
            Ok(KernelSource::AptPackage(package)) => Ok(EntrySource::Apt(package)),
            Ok(_) => Err("the source is no package".to_owned()),
            Err(error) => Err(error.to_string()),
        };
    }
    let (Some(sha256), Some(size)) = (&raw.sha256, raw.size) else {
        return Err("a bundle needs sha256 and size".to_owned());
    };
    let digest: Result<Digest, _> = format!("sha256:{sha256}").parse();
    let joined = match location {
        Some(location) => location.join(&raw.source),
        None => Location::parse(&raw.source),
    };
    let location = joined.map_err(|problem| format!("source {:?}: {problem}", raw.source))?;
    Ok(EntrySource::Bundle {
        reference: BundleReference {
            location,
            digest: Some(digest.map_err(|error| error.to_string())?),
        },
        size: Bytes::new(size),
    })
}

fn optional_line(text: Option<String>) -> Result<Option<String>, String> {
    text.map(line).transpose()
}

/// A short text that can be shown on one line.
fn line(text: String) -> Result<String, String> {
    if text.is_empty() || MAX_TEXT < text.len() || text.contains(char::is_control) {
        return Err("a text is empty, long or unprintable".to_owned());
    }
    Ok(text)
}

/// Refuses two entries of one name for one architecture.
fn unique(entries: Vec<CatalogEntry>) -> Result<Vec<CatalogEntry>, String> {
    let mut seen = BTreeSet::new();
    for entry in &entries {
        if !seen.insert((&entry.name, &entry.architecture)) {
            return Err(format!(
                "entry {} for {} is there twice",
                entry.name, entry.architecture
            ));
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location() -> Location {
        Location::Url("https://example.org/c/catalog.json".into())
    }

    fn document(entry: &str) -> Result<Document, String> {
        let text = format!("{{\"format\": 1, \"images\": [{entry}]}}");
        parse("c", Some(&location()), text.as_bytes())
    }

    fn golden() -> String {
        format!(
            r#"{{"name": "golden", "architecture": "x86_64", "source": "g.tar.zst",
                "sha256": "{}", "size": 5, "description": "d"}}"#,
            Digest::of(b"g").to_hex()
        )
    }

    #[test]
    fn an_entry_is_a_bundle_beside_its_catalog() {
        let document = document(&golden()).unwrap();
        let EntrySource::Bundle { reference, size } = &document.images[0].source else {
            panic!("{document:?}");
        };
        assert_eq!(size.get(), 5);
        let expected = format!("https://example.org/c/g.tar.zst@{}", Digest::of(b"g"));
        assert_eq!(reference.to_string(), expected);
    }

    #[test]
    fn what_cannot_be_trusted_is_refused() {
        let golden = golden();
        assert!(document(&format!("{golden}, {golden}")).is_err());
        for (from, to) in [
            ("golden", "../golden"),
            ("g.tar.zst", "../g.tar.zst"),
            ("g.tar.zst", "http://example.org/g"),
            ("g.tar.zst", "apt:linux-image-amd64"),
            ("\"size\": 5,", ""),
            ("\"description\"", "\"descriptions\""),
            ("\"d\"", "\"\\u001b[2J\""),
            (&Digest::of(b"g").to_hex(), "00"),
        ] {
            assert!(golden.contains(from), "{from}");
            assert!(document(&golden.replace(from, to)).is_err(), "{to}");
        }
        let beside = Location::File("/c/catalog.json".into());
        let escape = golden.replace("g.tar.zst", "g\\u001b[2J");
        let escape = format!("{{\"format\": 1, \"images\": [{escape}]}}");
        assert!(parse("c", Some(&beside), escape.as_bytes()).is_err());
        let old = parse("c", None, br#"{"format": 2}"#);
        assert!(old.unwrap_err().contains("format 2"));
    }
}
