//! Bundles that were written, and what catalogs offer.

use banger_core::{
    bundle::Written,
    catalog::{CatalogEntry, EntrySource},
};
use camino::Utf8Path;
use serde::Serialize;

use super::table;

/// A bundle, as JSON: with a name and an architecture, an entry of a catalog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BundleOutput {
    path: String,
    sha256: String,
    size: u64,
    unpacked_bytes: u64,
}

impl BundleOutput {
    /// The bundle that was written to `path`.
    #[must_use]
    pub fn new(path: &Utf8Path, written: &Written) -> Self {
        Self {
            path: path.to_string(),
            sha256: written.sha256.to_hex(),
            size: written.size.get(),
            unpacked_bytes: written.unpacked.get(),
        }
    }

    /// The line that sha256sum(1) would print.
    #[must_use]
    pub fn line(&self) -> String {
        format!("{}  {}\n", self.sha256, self.path)
    }
}

/// What a catalog offers, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CatalogEntryOutput {
    name: String,
    catalog: String,
    distribution: Option<String>,
    architecture: String,
    version: Option<String>,
    description: Option<String>,
    source: String,
    sha256: Option<String>,
    size: Option<u64>,
}

impl From<&CatalogEntry> for CatalogEntryOutput {
    fn from(entry: &CatalogEntry) -> Self {
        let (source, sha256, size) = match &entry.source {
            EntrySource::Apt(package) => (format!("apt:{package}"), None, None),
            EntrySource::Bundle { reference, size } => (
                reference.location.to_string(),
                reference.digest.map(|digest| digest.to_hex()),
                Some(size.get()),
            ),
            _ => ("other".to_owned(), None, None),
        };
        Self {
            name: entry.name.clone(),
            catalog: entry.catalog.clone(),
            distribution: entry.distribution.clone(),
            architecture: entry.architecture.clone(),
            version: entry.version.clone(),
            description: entry.description.clone(),
            source,
            sha256,
            size,
        }
    }
}

/// What catalogs offer, for people.
#[must_use]
pub fn catalog_table(entries: &[CatalogEntry]) -> String {
    let optional = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let row = |entry: &CatalogEntry| {
        vec![
            entry.name.clone(),
            optional(&entry.version),
            entry.architecture.clone(),
            entry.catalog.clone(),
            CatalogEntryOutput::from(entry).source,
            optional(&entry.description),
        ]
    };
    let head = [
        "NAME",
        "VERSION",
        "ARCH",
        "CATALOG",
        "SOURCE",
        "DESCRIPTION",
    ];
    table(&head, &entries.iter().map(row).collect::<Vec<_>>())
}
