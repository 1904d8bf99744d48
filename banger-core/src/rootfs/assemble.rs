//! From layers to a merged tree whose content has its place.
//!
//! Layers are read newest first, each once, and file content goes straight to
//! its place unless a newer layer surely hides it. The entries are then merged
//! oldest first, which alone decides what the tree is; content that shows
//! after all is read again, and places that nothing shows are given back.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::{
    EntryPosition, RootfsError, RootfsRequest,
    hidden::Hidden,
    merge::apply_layer,
    output::Output,
    place::{Extents, Placed, Placer},
    placements::{ContentKey, Placements},
    tree::Tree,
    view::{Numbering, View},
};
use crate::{
    domain::{Bytes, Digest},
    ext4::{self, Allocator, BLOCK_SIZE, Run},
    layer::{
        Archive, ArchiveError, Content, Entry, EntryKind, LayerStream, LimitExceeded,
        StreamDigests, StreamError, StreamResources, Streams, claimed_length, pass, with_streams,
    },
    oci::LayerBlob,
    progress::{ProgressEvent, ProgressSink},
};

/// Inflated bytes between two progress events.
const PROGRESS_STEP: u64 = 16 * Bytes::MIB;

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
struct Places<'a> {
    allocator: Allocator,
    extents: Extents,
    placements: Placements,
    output: &'a mut Output,
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

    /// Reads every layer, newest first; answers their entries, oldest first.
    fn read_layers(&self, places: &mut Places<'_>) -> Result<Vec<Vec<Entry>>, RootfsError> {
        let newest_first: Vec<&LayerBlob> = self.request.layers.iter().rev().collect();
        let resources = self.stream_resources();
        let limits = &self.request.limits;
        with_streams(&newest_first, limits, resources, self.cancel, |streams| {
            let mut reading = Reading {
                assembly: self,
                places,
                hidden: Hidden::default(),
                entries: 0,
                inflated: 0,
                reported: 0,
            };
            let mut layers = reading.all(streams)?;
            layers.reverse();
            Ok(layers)
        })
    }

    /// Of the memory, what may be ahead of the parser; the rest is for the
    /// entries, the pieces being written and the decoders.
    fn stream_resources(&self) -> StreamResources {
        let resources = self.request.resources;
        StreamResources {
            memory: Bytes::new(resources.memory.get() / 8 * 3),
            decoders: resources.decoders,
        }
    }

    /// What the lowest layers say they inflate to, at least what they are;
    /// those that still arrive have said nothing yet.
    fn claimed(&self, layers: usize) -> u64 {
        let claims = self.request.layers[..layers].iter().map(|layer| {
            let there = Some(layer).filter(|layer| layer.is_there());
            let claimed = there.and_then(|layer| claimed_length(layer).ok().flatten());
            claimed.unwrap_or_else(|| layer.descriptor.size.get())
        });
        claims.fold(0, u64::saturating_add)
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

/// One reading of all layers, newest first.
struct Reading<'a, 'p> {
    assembly: &'a Assembly<'a>,
    places: &'a mut Places<'p>,
    hidden: Hidden,
    /// Entries of all layers so far.
    entries: u64,
    /// Bytes of the layers that were read to their end.
    inflated: u64,
    reported: u64,
}

impl Reading<'_, '_> {
    fn all(&mut self, streams: &mut Streams) -> Result<Vec<Vec<Entry>>, RootfsError> {
        let layers = &self.assembly.request.layers;
        let mut all = Vec::with_capacity(layers.len());
        for (number, layer) in layers.iter().enumerate().rev() {
            let total = layers.len();
            self.assembly.progress.emit(ProgressEvent::ReadingLayers {
                done: all.len(),
                total,
            });
            let stream = streams.next_stream().ok_or(RootfsError::Cancelled)?;
            let entries = self.layer(number, layer, stream)?;
            self.hidden.add_layer(&entries);
            all.push(entries);
        }
        let total = layers.len();
        let done = ProgressEvent::ReadingLayers { done: total, total };
        self.assembly.progress.emit(done);
        Ok(all)
    }

    /// Reads a layer to its end, and makes sure that it is the one its image
    /// names.
    fn layer(
        &mut self,
        number: usize,
        layer: &LayerBlob,
        stream: LayerStream,
    ) -> Result<Vec<Entry>, RootfsError> {
        let digest = layer.descriptor.digest;
        let mut archive = Archive::new(stream, &self.assembly.request.limits);
        let mut entries = Vec::new();
        let read = self.entries(number, &mut archive, &mut entries);
        self.inflated += archive.position();
        let mut stream = archive.into_reader();
        let failed = |error| stream_error(digest, error, entries.last());
        match (read, stream.take_failure()) {
            (_, Some(failure)) => Err(failed(failure)),
            (Err(error), None) => Err(layer_error(digest, error, entries.last())),
            (Ok(()), None) => {
                verify(layer, stream.finish().map_err(failed)?)?;
                Ok(entries)
            }
        }
    }

    fn entries(
        &mut self,
        number: usize,
        archive: &mut Archive<LayerStream>,
        entries: &mut Vec<Entry>,
    ) -> Result<(), ArchiveError> {
        loop {
            let entry = archive.next_entry()?;
            self.check(number, archive.position())?;
            let Some(entry) = entry else { return Ok(()) };
            self.count()?;
            let placed = self.place(number, &entry, archive);
            // also one whose content fails: it is where the failure was
            entries.push(entry);
            placed?;
        }
    }

    /// Places the content of a file, unless it has none or is hidden.
    fn place(
        &mut self,
        number: usize,
        entry: &Entry,
        archive: &mut Archive<LayerStream>,
    ) -> Result<(), ArchiveError> {
        if let EntryKind::File(content) = &entry.kind
            && content.stored != 0
            && !self.hidden.covers(&entry.path)
        {
            let placed = place(self.places, content, |sink| archive.read_content(sink));
            let key = (number, content.offset);
            self.places.placements.add(key, placed?);
        }
        Ok(())
    }

    fn count(&mut self) -> Result<(), ArchiveError> {
        let most = self.assembly.request.limits.entries;
        self.entries += 1;
        if most < self.entries {
            return Err(LimitExceeded::Entries(most).into());
        }
        Ok(())
    }

    /// Whether a layer that was read up to `position` may be read on.
    fn check(&mut self, number: usize, position: u64) -> Result<(), ArchiveError> {
        let limits = &self.assembly.request.limits;
        let inflated = self.inflated + position;
        if limits.total_bytes.get() < inflated {
            return Err(LimitExceeded::TotalBytes(limits.total_bytes).into());
        }
        if self.places.output.is_broken() {
            // the writer tells why
            return Err(ArchiveError::Cancelled);
        }
        if self.reported + PROGRESS_STEP <= inflated {
            self.reported = inflated;
            let claimed = self.assembly.claimed(number + 1);
            let total = self.inflated.saturating_add(claimed);
            self.assembly.progress.emit(ProgressEvent::WritingDisk {
                done: Bytes::new(inflated.min(total)),
                total: Bytes::new(total),
            });
        }
        Ok(())
    }
}

/// Places one file's content as `read` hands it over.
fn place(
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
fn verify(layer: &LayerBlob, digests: StreamDigests) -> Result<(), RootfsError> {
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
fn stream_error(layer: Digest, error: StreamError, last: Option<&Entry>) -> RootfsError {
    match error {
        StreamError::Open(error) => RootfsError::Io(error),
        StreamError::Read(error) => layer_error(layer, error.into(), last),
    }
}

fn layer_error(layer: Digest, error: ArchiveError, last: Option<&Entry>) -> RootfsError {
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
