//! Building a disk while its layers still arrive.
//!
//! Invariants: what was built counts only when every layer turned out to be
//! what it was announced as; the work on a disk has ended before its failure
//! is told, unless the caller gave up.
//! Entry points: [`build_while_arriving`].

use std::pin::pin;

use futures_util::future::{Either, select};
use tokio_util::sync::CancellationToken;

use crate::{
    ErrorKind,
    oci::{ArrivingLayers, LayerBlob, SourceError},
};

/// Why there is no disk.
pub(crate) enum ArrivingError<E> {
    /// A layer did not arrive.
    Fetch(SourceError),
    /// It could not be built.
    Build(E),
}

/// Lets `build` work on layers that are on their way.
///
/// Where a layer could not be read, the fetching has the say: it knows whether
/// the layer's bytes were wrong. Wrong bytes that others replaced are no
/// failure: the disk is built again, of what is then there.
pub(crate) async fn build_while_arriving<T, E, Building>(
    layers: ArrivingLayers<'_>,
    build: impl Fn(Vec<LayerBlob>, CancellationToken) -> Building,
    kind: impl Fn(&E) -> ErrorKind,
) -> Result<T, ArrivingError<E>>
where
    Building: Future<Output = Result<T, E>>,
{
    let ArrivingLayers {
        blobs,
        mut fetching,
    } = layers;
    let cancel = CancellationToken::new();
    let mut building = pin!(build(blobs.clone(), cancel.clone()));
    let is_corrupt = |error: &E| kind(error) == ErrorKind::Corrupt;
    let outcome = match select(&mut fetching, &mut building).await {
        Either::Left((Ok(()), building)) => building.await,
        Either::Left((Err(error), building)) => {
            drop(fetching);
            cancel.cancel();
            // ends soon, and takes away what it made
            drop(building.await);
            return Err(ArrivingError::Fetch(error));
        }
        Either::Right((Err(error), _)) if !is_corrupt(&error) => Err(error),
        Either::Right((outcome, fetching)) => {
            fetching.await.map_err(ArrivingError::Fetch)?;
            outcome
        }
    };
    match outcome {
        Err(error) if is_corrupt(&error) && blobs.iter().any(LayerBlob::was_taken_back) => {
            build(blobs, cancel).await
        }
        outcome => outcome,
    }
    .map_err(ArrivingError::Build)
}
