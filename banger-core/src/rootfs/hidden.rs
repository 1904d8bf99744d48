//! Which content of a lower layer the layers above it hide.
//!
//! Newer layers are read ahead of older ones, so that most hidden content need
//! not be written. The answer is only a guess: what a newer layer says may be
//! read too late, and paths through symbolic links, hard links to hidden names
//! and colliding hashes can make it wrong. The merge decides; what
//! it misses and is not [kept](super::kept) is read again.

use std::collections::HashMap;

use super::merge::{Whiteout, whiteout_of};
use crate::layer::{Entry, EntryKind, LayerPath};

/// FNV-1a's offset basis and prime for 64 bits (Fowler, Noll and Vo).
const HASH_START: u64 = 0xcbf2_9ce4_8422_2325;
const HASH_FACTOR: u64 = 0x0100_0000_01b3;

/// What layers say of a path: for each thing the newest layer that says it.
/// It counts for the layers below that one; for none when it is the lowest.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    /// Something that is not a directory is there, or nothing.
    replaced: usize,
    /// A directory is there.
    directory: usize,
    /// Nothing below it shows.
    opaque: usize,
}

/// The marks of all entries read so far.
#[derive(Debug, Default)]
pub(super) struct Hidden(HashMap<u64, Mark>);

impl Hidden {
    /// Whether the content of a layer's file at `path` is hidden.
    pub(super) fn covers(&self, layer: usize, path: &LayerPath) -> bool {
        let whole = path.as_bytes().len();
        let mut marks = hashes(path).map(|(end, hash)| (end, self.0.get(&hash)));
        marks.any(|(end, mark)| {
            mark.is_some_and(|mark| {
                layer < mark.replaced
                    || (end < whole && layer < mark.opaque)
                    || (end == whole && layer < mark.directory)
            })
        })
    }

    /// Takes a layer's entry into account for the layers below it.
    pub(super) fn add(&mut self, layer: usize, entry: &Entry) {
        let newest = |mark: &mut usize| *mark = layer.max(*mark);
        match whiteout_of(&entry.path) {
            Some(Whiteout::Opaque { directory }) => newest(&mut self.mark(directory).opaque),
            Some(Whiteout::Of { directory, name }) => {
                let path = [directory, name].join(&b'/');
                let path = path.strip_prefix(b"/").unwrap_or(&path);
                newest(&mut self.mark(path).replaced);
            }
            Some(Whiteout::Nothing) => {}
            None if entry.kind == EntryKind::Directory => {
                newest(&mut self.mark(entry.path.as_bytes()).directory);
            }
            None => newest(&mut self.mark(entry.path.as_bytes()).replaced),
        }
    }

    fn mark(&mut self, path: &[u8]) -> &mut Mark {
        self.0.entry(hash(HASH_START, path)).or_default()
    }
}

/// The hash of every prefix of a path, with the prefix's length.
fn hashes(path: &LayerPath) -> impl Iterator<Item = (usize, u64)> {
    let root = std::iter::once((0, HASH_START));
    let mut state = (0, HASH_START);
    root.chain(path.prefixes().map(move |prefix| {
        let (done, so_far) = state;
        state = (prefix.len(), hash(so_far, &prefix[done..]));
        state
    }))
}

fn hash(start: u64, bytes: &[u8]) -> u64 {
    let add = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(HASH_FACTOR);
    bytes.iter().fold(start, add)
}
