//! From layers to a merged tree whose content has its place.
//!
//! Layers are [read](super::reading) once, and file content goes straight to
//! its place unless a newer layer is known to hide it. The entries are then
//! merged oldest first, which alone decides what the tree is; content that
//! shows after all is read again, and places that nothing shows are given back.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::{
    EntryPosition, RootfsError, RootfsRequest,
    merge::apply_layer,
    output::Output,
    place::{Extents, Placed, Placer},
    placements::{ContentKey, Placements},
    reading::read_all,
    tree::Tree,
    view::{Numbering, View},
};
use crate::{
    domain::{Bytes, Digest},
    ext4::{self, Allocator, BLOCK_SIZE, Run},
    layer::{
        ArchiveError, Content, Entry, StreamDigests, StreamError, StreamResources, Streams, pass,
        with_streams,
    },
    oci::LayerBlob,
    progress::ProgressSink,
};

/// A merged tree whose content has its place.
pub(super) struct Assembled {
    pub(super) view: View,
    pub(super) allocator: Allocator,
    /// Places that hold bytes which nothing shows.
    pub(super) dead: Vec<Run>,
    /// Bytes of file content that are stored.
    pub(super) content: u64,
    /// Bytes of the blocks that hold it.
    pub(super) stored: u64,
    /// How long reading and placing, and merging, took.
    pub(super) timings: (Duration, Duration),
}

/// What one reading of all layers works with.
pub(super) struct Assembly<'a> {
    pub(super) request: &'a RootfsRequest,
    pub(super) options: &'a ext4::Options,
    pub(super) progress: &'a dyn ProgressSink,
    pub(super) cancel: &'a CancellationToken,
}

/// Where content goes, and where it went.
pub(super) struct Places<'a> {
    allocator: Allocator,
    extents: Extents,
    pub(super) placements: Placements,
    pub(super) output: &'a mut Output,
}

impl Places<'_> {
    fn blocks_in_use(&self) -> u64 {
        let extents = self
            .placements
            .all()
            .flat_map(|placed| self.extents.of(placed));
        extents.map(|extent| u64::from(extent.length)).sum()
    }

    fn placer(&mut self) -> Placer<'_> {
        Placer::new(&mut self.allocator, self.output, &mut self.extents)
    }
}

impl Assembly<'_> {
    /// Reads, places and merges all layers.
    pub(super) fn run(&self, output: &mut Output) -> Result<Assembled, RootfsError> {
        let started = Instant::now();
        let mut places = Places {
            allocator: Allocator::new(self.options),
            extents: Extents::default(),
            placements: Placements::default(),
            output,
        };
        let layers = self.read_layers(&mut places)?;
        let merging = Instant::now();
        let tree = self.merge(layers)?;
        let numbering = Numbering::of(&tree);
        let merged = Instant::now();
        let mut used = BTreeSet::new();
        let mut content = 0;
        for (key, file) in numbering.contents(&tree) {
            if used.insert(key) {
                content += file.stored;
            }
        }
        self.place_missing(&tree, &numbering, &mut places)?;
        let dead = give_back(&mut places, &used);
        let blocks = places.blocks_in_use();
        let Places {
            allocator,
            extents,
            placements,
            ..
        } = places;
        Ok(Assembled {
            view: View {
                tree,
                numbering,
                extents,
                placements,
            },
            allocator,
            dead,
            content,
            stored: blocks * BLOCK_SIZE,
            timings: (merging - started + merged.elapsed(), merged - merging),
        })
    }

    /// Reads every layer; answers their entries, oldest first.
    fn read_layers(&self, places: &mut Places<'_>) -> Result<Vec<Vec<Entry>>, RootfsError> {
        let newest_first: Vec<&LayerBlob> = self.request.layers.iter().rev().collect();
        let resources = self.stream_resources();
        let limits = &self.request.limits;
        with_streams(&newest_first, limits, resources, self.cancel, |streams| {
            read_all(self, places, streams)
        })
    }

    /// Of the memory, what may be ahead of the parser; the rest is for the
    /// entries, the pieces being written and the decoders.
    fn stream_resources(&self) -> StreamResources {
        let resources = self.request.resources;
        StreamResources {
            memory: Bytes::new(resources.memory.get() / 4),
            decoders: resources.decoders,
        }
    }

    fn merge(&self, layers: Vec<Vec<Entry>>) -> Result<Tree, RootfsError> {
        let created = self.request.created_unix;
        let mut tree = Tree::new(created);
        for (number, entries) in layers.into_iter().enumerate() {
            apply_layer(&mut tree, number, entries, created).map_err(|error| {
                RootfsError::UnusableEntry {
                    layer: self.request.layers[number].descriptor.digest,
                    path: error.path.to_string(),
                    problem: error.problem,
                }
            })?;
        }
        Ok(tree)
    }

    /// Reads the content again that was thought to be hidden and shows.
    fn place_missing(
        &self,
        tree: &Tree,
        numbering: &Numbering,
        places: &mut Places<'_>,
    ) -> Result<(), RootfsError> {
        let missing = |(key, _): &(ContentKey, &Content)| places.placements.of(*key).is_none();
        let mut missing: Vec<_> = numbering.contents(tree).filter(missing).collect();
        missing.sort_unstable_by_key(|(key, _)| *key);
        for of_layer in missing.chunk_by(|(one, _), (other, _)| one.0 == other.0) {
            let layer = &self.request.layers[of_layer[0].0.0];
            let (limits, resources) = (&self.request.limits, self.stream_resources());
            with_streams(&[layer], limits, resources, self.cancel, |streams| {
                place_again(layer, streams, of_layer, places)
            })?;
        }
        Ok(())
    }
}

/// Places one file's content as `read` hands it over.
pub(super) fn place(
    places: &mut Places<'_>,
    content: &Content,
    read: impl FnOnce(&mut dyn FnMut(&[u8])) -> Result<(), ArchiveError>,
) -> Result<Placed, ArchiveError> {
    let mut file = places.placer();
    let Some(runs) = &content.runs else {
        read(&mut |bytes| file.put(bytes))?;
        return Ok(file.end());
    };
    let mut runs = runs.iter();
    let mut left = 0;
    read(&mut |mut bytes| {
        while !bytes.is_empty() {
            if left == 0 {
                // the runs' lengths add up to the stored bytes
                let Some(run) = runs.next() else { return };
                file.seek(run.offset);
                left = run.length;
            }
            let now = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
            file.put(&bytes[..now]);
            bytes = &bytes[now..];
            left -= now as u64;
        }
    })?;
    Ok(file.end())
}

/// Places contents of one layer, in the order of their bytes.
fn place_again(
    layer: &LayerBlob,
    streams: &mut Streams,
    contents: &[(ContentKey, &Content)],
    places: &mut Places<'_>,
) -> Result<(), RootfsError> {
    let digest = layer.descriptor.digest;
    let failed = |error| layer_error(digest, error, None);
    let mut stream = streams.next_stream().ok_or(RootfsError::Cancelled)?;
    let mut position = 0;
    for (key, content) in contents {
        let ahead = content.offset - position;
        pass(&mut stream, ahead, |_| ()).map_err(|error| failed(error.into()))?;
        let again = place(places, content, |sink| {
            Ok(pass(&mut stream, content.stored, sink)?)
        });
        places.placements.add(*key, again.map_err(failed)?);
        position = content.offset + content.stored;
    }
    let digests = stream.finish();
    verify(
        layer,
        digests.map_err(|error| stream_error(digest, error, None))?,
    )
}

/// Gives the places back that nothing shows.
fn give_back(places: &mut Places<'_>, used: &BTreeSet<ContentKey>) -> Vec<Run> {
    let unused = places.placements.take_unused(used);
    let mut dead = Vec::new();
    for placed in unused {
        dead.extend(places.extents.of(placed).iter().map(|extent| Run {
            start: extent.start,
            length: u64::from(extent.length),
        }));
    }
    for run in &dead {
        places.allocator.release(*run);
    }
    dead
}

/// Compares what a layer was with what its image names.
pub(super) fn verify(layer: &LayerBlob, digests: StreamDigests) -> Result<(), RootfsError> {
    let descriptor = &layer.descriptor;
    if let Some(actual) = digests.blob
        && actual != descriptor.digest
    {
        return Err(RootfsError::CorruptLayer {
            layer: descriptor.digest,
            problem: format!("its bytes have digest {actual}"),
        });
    }
    if digests.diff_id != descriptor.diff_id {
        return Err(RootfsError::WrongDiffId {
            layer: descriptor.digest,
            expected: descriptor.diff_id,
            actual: digests.diff_id,
        });
    }
    Ok(())
}

/// `last` is the entry read before the failure.
pub(super) fn stream_error(layer: Digest, error: StreamError, last: Option<&Entry>) -> RootfsError {
    match error {
        StreamError::Open(error) => RootfsError::Io(error),
        StreamError::Read(error) => layer_error(layer, error.into(), last),
    }
}

pub(super) fn layer_error(layer: Digest, error: ArchiveError, last: Option<&Entry>) -> RootfsError {
    match error {
        ArchiveError::Cancelled => RootfsError::Cancelled,
        ArchiveError::Corrupt(problem) => RootfsError::CorruptLayer { layer, problem },
        ArchiveError::Limit { limit, path } => RootfsError::Limit {
            layer,
            limit,
            entry: match (path, last) {
                (Some(path), _) => EntryPosition::At(path),
                (None, Some(last)) => EntryPosition::After(last.path.to_string()),
                (None, None) => EntryPosition::First,
            },
        },
        ArchiveError::Entry { path, problem } => RootfsError::UnusableEntry {
            layer,
            path,
            problem,
        },
    }
}
