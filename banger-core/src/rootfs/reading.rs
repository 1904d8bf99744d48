//! Reading all layers, each once, some side by side.
//!
//! Newer layers begin first. Up to [`LANES`] are read by turns, always the one
//! that is least far, so that as many are inflated at the same time without
//! holding what comes out. An older one begins a little later, so that most of
//! what the newer one hides is known when its content comes. Whose turn it is
//! depends on the layers' bytes alone, and so does the place of everything on
//! the disk.
//! Entry point: [`read_all`].

use super::{
    RootfsError,
    assemble::{Assembly, Places, layer_error, place, stream_error, verify},
    hidden::Hidden,
    kept::Kept,
};
use crate::{
    domain::Bytes,
    layer::{
        Archive, ArchiveError, Entry, EntryKind, LANES, LayerStream, LimitExceeded, Streams,
        claimed_length,
    },
    oci::LayerBlob,
    progress::ProgressEvent,
};

/// Inflated bytes between two progress events.
const PROGRESS_STEP: u64 = 16 * Bytes::MIB;
/// Inflated bytes that an older layer begins behind the newer one.
const LEAD: u64 = 32 * Bytes::MIB;
/// Inflated bytes of a lane's turn, but for its last entry.
const TURN: u64 = Bytes::MIB;

/// Reads every layer; answers their entries, oldest first.
pub(super) fn read_all(
    assembly: &Assembly<'_>,
    places: &mut Places<'_>,
    streams: &mut Streams,
) -> Result<Vec<Vec<Entry>>, RootfsError> {
    let layers = &assembly.request.layers;
    let mut reading = Reading {
        assembly,
        places,
        hidden: Hidden::default(),
        kept: Kept::default(),
        entries: 0,
        inflated: vec![0; layers.len()],
        reported: 0,
    };
    let mut waiting = layers.iter().enumerate().rev();
    let mut lanes: Vec<Lane<'_>> = Vec::new();
    let mut all = vec![Vec::new(); layers.len()];
    let mut done = 0;
    reading.report_layers(done);
    loop {
        while lanes.len() < LANES
            && let Some((number, layer)) = waiting.next()
        {
            let least = lanes.iter().map(Lane::position).min();
            let start = least.map_or(0, |least| least + LEAD);
            lanes.push(reading.begin(number, layer, start, streams)?);
        }
        let Some(next) = least_far(&lanes) else {
            return Ok(all);
        };
        if reading.turn(&mut lanes[next])? {
            let lane = lanes.remove(next);
            let number = lane.number;
            all[number] = lane.end()?;
            reading.kept.forget(number);
            done += 1;
            reading.report_layers(done);
        }
    }
}

/// A layer being read.
struct Lane<'a> {
    number: usize,
    layer: &'a LayerBlob,
    archive: Archive<LayerStream>,
    entries: Vec<Entry>,
    /// How far it seems to be at its first byte.
    start: u64,
}

/// The lane whose turn it is: of those that are equally far the newest.
fn least_far(lanes: &[Lane<'_>]) -> Option<usize> {
    let turns = lanes.iter().map(|lane| lane.position() / TURN);
    let least = turns.enumerate().min_by_key(|(_, turn)| *turn);
    least.map(|(index, _)| index)
}

impl Lane<'_> {
    fn position(&self) -> u64 {
        self.start + self.archive.position()
    }

    /// Why it could not be read on.
    fn failure(&mut self, error: ArchiveError) -> RootfsError {
        let digest = self.layer.descriptor.digest;
        let last = self.entries.last();
        match self.archive.reader_mut().take_failure() {
            Some(failure) => stream_error(digest, failure, last),
            None => layer_error(digest, error, last),
        }
    }

    /// Reads what is behind the last entry, and makes sure that the layer is
    /// the one its image names.
    fn end(self) -> Result<Vec<Entry>, RootfsError> {
        let digest = self.layer.descriptor.digest;
        let digests = self.archive.into_reader().finish();
        let last = self.entries.last();
        let digests = digests.map_err(|error| stream_error(digest, error, last))?;
        verify(self.layer, digests)?;
        Ok(self.entries)
    }
}

/// One reading of all layers.
struct Reading<'a, 'p, 'o> {
    assembly: &'a Assembly<'a>,
    places: &'p mut Places<'o>,
    hidden: Hidden,
    kept: Kept,
    /// Entries of all layers so far.
    entries: u64,
    /// Bytes read of each layer.
    inflated: Vec<u64>,
    reported: u64,
}

impl Reading<'_, '_, '_> {
    fn begin<'l>(
        &self,
        number: usize,
        layer: &'l LayerBlob,
        start: u64,
        streams: &mut Streams,
    ) -> Result<Lane<'l>, RootfsError> {
        let stream = streams.next_stream().ok_or(RootfsError::Cancelled)?;
        Ok(Lane {
            number,
            layer,
            archive: Archive::new(stream, &self.assembly.request.limits),
            entries: Vec::new(),
            start,
        })
    }

    /// Reads a lane until it is another's turn; true at its last entry.
    fn turn(&mut self, lane: &mut Lane<'_>) -> Result<bool, RootfsError> {
        let turn = lane.position() / TURN;
        while lane.position() / TURN == turn {
            match self.entry(lane) {
                Ok(true) => {}
                Ok(false) => return Ok(true),
                Err(error) => return Err(lane.failure(error)),
            }
        }
        Ok(false)
    }

    /// Reads an entry and its content; false when there is none.
    fn entry(&mut self, lane: &mut Lane<'_>) -> Result<bool, ArchiveError> {
        let entry = lane.archive.next_entry()?;
        self.inflated[lane.number] = lane.archive.position();
        self.check()?;
        let Some(entry) = entry else { return Ok(false) };
        self.count()?;
        let placed = self.place(lane, &entry);
        self.hidden.add(lane.number, &entry);
        // also one whose content fails: it is where the failure was
        lane.entries.push(entry);
        placed.map(|()| true)
    }

    /// Places the content of a file, unless it has none or is hidden, and
    /// hidden content once it has a name that shows.
    fn place(&mut self, lane: &mut Lane<'_>, entry: &Entry) -> Result<(), ArchiveError> {
        let is_hidden = self.hidden.covers(lane.number, &entry.path);
        match &entry.kind {
            EntryKind::File(content) if content.stored == 0 => {}
            EntryKind::File(content) if is_hidden => {
                if let Some(bytes) = self.kept.add(lane.number, &entry.path, content) {
                    let keep = |piece: &[u8]| bytes.extend_from_slice(piece);
                    lane.archive.read_content(keep)?;
                }
            }
            EntryKind::File(content) => {
                let read = |sink: &mut dyn FnMut(&[u8])| lane.archive.read_content(sink);
                let placed = place(self.places, content, read)?;
                let key = (lane.number, content.offset);
                self.places.placements.add(key, placed);
            }
            EntryKind::HardLink(target) if !is_hidden => {
                if let Some(file) = self.kept.take(lane.number, target) {
                    let read = |sink: &mut dyn FnMut(&[u8])| {
                        sink(&file.bytes);
                        Ok(())
                    };
                    let placed = place(self.places, &file.content, read)?;
                    let key = (lane.number, file.content.offset);
                    self.places.placements.add(key, placed);
                }
            }
            _ => {}
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

    /// Whether the layers may be read on.
    fn check(&mut self) -> Result<(), ArchiveError> {
        let most = self.assembly.request.limits.total_bytes;
        let inflated = self
            .inflated
            .iter()
            .fold(0, |sum: u64, bytes| sum.saturating_add(*bytes));
        if most.get() < inflated {
            return Err(LimitExceeded::TotalBytes(most).into());
        }
        if self.places.output.is_broken() {
            // the writer tells why
            return Err(ArchiveError::Cancelled);
        }
        if self.reported + PROGRESS_STEP <= inflated {
            self.reported = inflated;
            self.report_bytes(inflated);
        }
        Ok(())
    }

    fn report_layers(&self, done: usize) {
        let total = self.inflated.len();
        let event = ProgressEvent::ReadingLayers { done, total };
        self.assembly.progress.emit(event);
    }

    fn report_bytes(&self, inflated: u64) {
        let layers = self.assembly.request.layers.iter().zip(&self.inflated);
        let claims = layers.map(|(layer, read)| claimed(layer).max(*read));
        let total = claims.fold(0, u64::saturating_add).max(inflated);
        self.assembly.progress.emit(ProgressEvent::WritingDisk {
            done: Bytes::new(inflated),
            total: Bytes::new(total),
        });
    }
}

/// What a layer says it inflates to, at least what it is; one that still
/// arrives has said nothing yet.
fn claimed(layer: &LayerBlob) -> u64 {
    let there = Some(layer).filter(|layer| layer.is_there());
    let claimed = there.and_then(|layer| claimed_length(layer).ok().flatten());
    claimed.unwrap_or_else(|| layer.descriptor.size.get())
}
