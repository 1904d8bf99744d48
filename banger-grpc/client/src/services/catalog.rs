//! What a server's catalogs offer.

use banger_api::v1::{self, catalog_entry::Source};
use banger_core::{
    catalog::{Available, CatalogEntry, CatalogError, EntrySource},
    domain::Bytes,
    remote::RemoteError,
};
use tonic::{Response, Status, Streaming};

use crate::Failure;

/// Some entries, and why catalogs cannot be used.
pub(super) type Piece = (Vec<v1::CatalogEntry>, Vec<v1::Failure>);

/// All pieces of a stream as one.
pub(super) async fn whole<T>(
    opened: Result<Response<Streaming<T>>, Status>,
    open_piece: impl Fn(T) -> Piece,
) -> Result<Response<Piece>, Status> {
    let mut stream = opened?.into_inner();
    let mut whole = Piece::default();
    while let Some(piece) = stream.message().await? {
        let (entries, failures) = open_piece(piece);
        whole.0.extend(entries);
        whole.1.extend(failures);
    }
    Ok(Response::new(whole))
}

/// What the catalogs offer, or that nobody knows.
pub(super) fn available(read: Result<Piece, Failure>) -> Available {
    let read = read.and_then(|(entries, failures)| {
        let entries = entries.into_iter().map(entry).collect::<Result<_, _>>()?;
        let failures = failures.into_iter().map(Failure::from);
        Ok(Available {
            entries,
            failures: failures.map(failed).collect(),
        })
    });
    read.unwrap_or_else(|failure| Available {
        entries: Vec::new(),
        failures: vec![failed(failure)],
    })
}

fn failed(failure: Failure) -> CatalogError {
    CatalogError::from(RemoteError::from(failure))
}

fn entry(entry: v1::CatalogEntry) -> Result<CatalogEntry, Failure> {
    let confused = |problem: &str| Failure::confused(&entry.name, problem);
    let source = match &entry.source {
        Some(Source::AptPackage(package)) => EntrySource::Apt(package.clone()),
        Some(Source::Bundle(bundle)) => EntrySource::Bundle {
            reference: bundle
                .reference
                .parse()
                .map_err(|error| confused(&format!("{error}")))?,
            size: Bytes::new(bundle.size_bytes),
        },
        None => return Err(confused("it is nowhere")),
    };
    let given = |text: String| (!text.is_empty()).then_some(text);
    Ok(CatalogEntry {
        name: entry.name,
        catalog: entry.catalog,
        distribution: given(entry.distribution),
        architecture: entry.architecture,
        version: given(entry.version),
        description: given(entry.description),
        source,
    })
}
