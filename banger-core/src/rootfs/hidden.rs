//! Which content of a lower layer the layers above it surely hide.
//!
//! Layers are read newest first, so that hidden content need not be written.
//! The answer is only a guess: paths through symbolic links, hard links to
//! hidden names and colliding hashes can make it wrong. The merge decides; what
//! it misses is read again.

use std::collections::HashMap;

use super::merge::{Whiteout, whiteout_of};
use crate::layer::{Entry, EntryKind, LayerPath};

/// FNV-1a's offset basis and prime for 64 bits (Fowler, Noll and Vo).
const HASH_START: u64 = 0xcbf2_9ce4_8422_2325;
const HASH_FACTOR: u64 = 0x0100_0000_01b3;

/// What layers above say of a path.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    /// Something that is not a directory is there, or nothing.
    replaced: bool,
    /// A directory is there.
    directory: bool,
    /// Nothing below it shows.
    opaque: bool,
}

/// The marks of all layers read so far.
#[derive(Debug, Default)]
pub(super) struct Hidden(HashMap<u64, Mark>);

impl Hidden {
    /// Whether the content of a file at `path` in the next lower layer is
    /// hidden.
    pub(super) fn covers(&self, path: &LayerPath) -> bool {
        let whole = path.as_bytes().len();
        let mut marks = hashes(path).map(|(end, hash)| (end, self.0.get(&hash)));
        marks.any(|(end, mark)| {
            mark.is_some_and(|mark| {
                mark.replaced || (end < whole && mark.opaque) || (end == whole && mark.directory)
            })
        })
    }

    /// Takes a layer's marks into account for the layers below it.
    pub(super) fn add_layer(&mut self, entries: &[Entry]) {
        for entry in entries {
            match whiteout_of(&entry.path) {
                Some(Whiteout::Opaque { directory }) => self.mark(directory).opaque = true,
                Some(Whiteout::Of { directory, name }) => {
                    let path = [directory, name].join(&b'/');
                    self.mark(path.strip_prefix(b"/").unwrap_or(&path)).replaced = true;
                }
                Some(Whiteout::Nothing) => {}
                None if entry.kind == EntryKind::Directory => {
                    self.mark(entry.path.as_bytes()).directory = true;
                }
                None => self.mark(entry.path.as_bytes()).replaced = true,
            }
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
