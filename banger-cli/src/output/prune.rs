//! What a prune of the cache removed.

use banger_core::image::PrunedCache;
use serde::Serialize;

/// A prune, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PrunedOutput {
    dry_run: bool,
    removed: Vec<PrunedBlobOutput>,
    freed_bytes: u64,
    kept_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct PrunedBlobOutput {
    digest: String,
    bytes: u64,
    partial: bool,
}

impl PrunedOutput {
    /// What a prune did, or would do.
    #[must_use]
    pub fn new(pruned: &PrunedCache, dry_run: bool) -> Self {
        let removed = pruned.removed.iter().map(|blob| PrunedBlobOutput {
            digest: blob.digest.to_string(),
            bytes: blob.size.get(),
            partial: blob.is_partial,
        });
        Self {
            dry_run,
            removed: removed.collect(),
            freed_bytes: pruned.freed.get(),
            kept_bytes: pruned.kept.get(),
        }
    }
}

/// A prune for people: blobs, and how much that is.
#[must_use]
pub fn pruned_lines(pruned: &PrunedCache, dry_run: bool) -> String {
    let lines = pruned.removed.iter().map(|blob| {
        let partial = if blob.is_partial { " (partial)" } else { "" };
        format!("{} {}{partial}\n", blob.digest, blob.size)
    });
    let verb = if dry_run { "would free" } else { "freed" };
    let (freed, kept) = (pruned.freed, pruned.kept);
    format!("{}{verb} {freed}, {kept} stay\n", lines.collect::<String>())
}
