//! Which content was placed where.

use std::collections::{HashMap, HashSet};

use super::place::Placed;

/// A file's content: its layer, and where it starts in the layer's stream.
pub(super) type ContentKey = (usize, u64);

/// The place of every file's content that has one.
#[derive(Debug, Default)]
pub(super) struct Placements(HashMap<ContentKey, Placed>);

impl Placements {
    pub(super) fn add(&mut self, key: ContentKey, placed: Placed) {
        self.0.insert(key, placed);
    }

    pub(super) fn of(&self, key: ContentKey) -> Option<Placed> {
        self.0.get(&key).copied()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = Placed> {
        self.0.values().copied()
    }

    /// Forgets what is not in `used` and answers it, in order of its content.
    pub(super) fn take_unused(&mut self, used: &HashSet<ContentKey>) -> Vec<Placed> {
        let unused = self.0.extract_if(|key, _| !used.contains(key));
        let mut unused: Vec<_> = unused.collect();
        unused.sort_unstable_by_key(|(key, _)| *key);
        unused.into_iter().map(|(_, placed)| placed).collect()
    }
}
