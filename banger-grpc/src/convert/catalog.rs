//! What catalogs offer.

use banger_api::v1::{self, catalog_entry::Source};
use banger_core::catalog::{CatalogEntry, EntrySource};

pub(crate) fn entry(entry: &CatalogEntry) -> v1::CatalogEntry {
    let source = match &entry.source {
        EntrySource::Apt(package) => Some(Source::AptPackage(package.clone())),
        EntrySource::Bundle { reference, size } => Some(Source::Bundle(v1::CatalogBundle {
            reference: reference.to_string(),
            size_bytes: size.get(),
        })),
        _ => None,
    };
    v1::CatalogEntry {
        name: entry.name.clone(),
        catalog: entry.catalog.clone(),
        distribution: entry.distribution.clone().unwrap_or_default(),
        architecture: entry.architecture.clone(),
        version: entry.version.clone().unwrap_or_default(),
        description: entry.description.clone().unwrap_or_default(),
        source,
    }
}
