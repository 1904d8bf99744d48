//! What catalogs offer, in pieces.
//!
//! Invariants: a piece is small, whatever the catalogs say, and is made when the
//! transport asks for it. Entry points: [`pieces`].

use std::mem;

use banger_api::v1::{CatalogEntry, Failure};
use banger_core::catalog::{Available, CatalogError};
use futures_util::{Stream, stream};
use prost::Message as _;
use tonic::Status;

use crate::{convert, fault::Fault};

/// Where a piece ends: a single entry is far smaller.
const PIECE: usize = 32 * 1024;

/// Some entries and, with the last of them, why catalogs cannot be used.
pub(super) type Piece = (Vec<CatalogEntry>, Vec<Failure>);

/// There is one piece at least.
pub(super) fn pieces(available: Available) -> impl Stream<Item = Result<Piece, Status>> + Send {
    let Available { entries, failures } = available;
    let failures = failures.into_iter().map(failure).collect();
    let left = Some((entries.into_iter().peekable(), failures));
    stream::unfold(left, |left| async {
        let (mut entries, mut failures): (_, Vec<Failure>) = left?;
        let (mut piece, mut bytes) = (Vec::new(), 0);
        while bytes < PIECE
            && let Some(entry) = entries.next()
        {
            let entry = convert::catalog::entry(&entry);
            bytes += entry.encoded_len();
            piece.push(entry);
        }
        if entries.peek().is_some() {
            return Some((Ok((piece, Vec::new())), Some((entries, failures))));
        }
        Some((Ok((piece, mem::take(&mut failures))), None))
    })
}

fn failure(error: CatalogError) -> Failure {
    Failure::from(&Fault::from(error))
}

#[cfg(test)]
mod tests {
    use banger_core::catalog::EntrySource;
    use futures_util::StreamExt as _;

    use super::*;

    fn available(entries: usize) -> Available {
        let entry = |number: usize| banger_core::catalog::CatalogEntry {
            name: format!("entry-{number}"),
            catalog: "many".to_owned(),
            distribution: None,
            architecture: "x86_64".to_owned(),
            version: None,
            description: Some("d".repeat(1000)),
            source: EntrySource::Apt("linux-image".to_owned()),
        };
        Available {
            entries: (0..entries).map(entry).collect(),
            failures: vec![CatalogError::Malformed {
                catalog: "other".to_owned(),
                problem: "no".to_owned(),
            }],
        }
    }

    #[tokio::test]
    async fn pieces_are_small_and_in_order_and_the_last_has_the_failures() {
        for entries in [0, 1, 100] {
            let pieces: Vec<_> = pieces(available(entries)).collect().await;
            let pieces: Vec<Piece> = pieces.into_iter().map(Result::unwrap).collect();
            let names = pieces.iter().flat_map(|(entries, _)| entries);
            let names: Vec<String> = names.map(|entry| entry.name.clone()).collect();
            let expected: Vec<String> = (0..entries).map(|n| format!("entry-{n}")).collect();
            assert_eq!(names, expected);
            let (last, others) = pieces.split_last().unwrap();
            assert_eq!(last.1.len(), 1);
            assert_eq!(others.is_empty(), entries < 2);
            for (piece, failures) in others {
                let bytes: usize = piece.iter().map(prost::Message::encoded_len).sum();
                assert!(bytes < 2 * PIECE && failures.is_empty());
            }
        }
    }
}
