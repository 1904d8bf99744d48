//! What the layers of an image add up to.

use std::{
    fmt,
    fs::{self, File},
    path::Path,
};

use flate2::read::MultiGzDecoder;

use super::layout;
use crate::{Result, paths::failed_at};

const BLOCK: u64 = 4096;

/// What layers add up to, also what later ones hide.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) layers: u64,
    pub(super) compressed: u64,
    pub(super) entries: u64,
    pub(super) content: u64,
    /// Bytes of the blocks that the content fills.
    pub(super) blocks: u64,
}

impl Counts {
    /// Reads every layer of a layout; only the sizes of those not in gzip.
    pub(super) fn of(layout: &Path) -> Result<Self> {
        let mut counts = Self::default();
        for layer in layout::layers(layout)? {
            counts.layers += 1;
            counts.compressed += fs::metadata(&layer).map_err(failed_at(&layer))?.len();
            if layout::is_gzip(&layer)? {
                counts.add(&layer)?;
            }
        }
        Ok(counts)
    }

    fn add(&mut self, layer: &Path) -> Result<()> {
        let failed = failed_at(layer);
        let file = File::open(layer).map_err(&failed)?;
        let mut archive = tar::Archive::new(MultiGzDecoder::new(file));
        for entry in archive.entries().map_err(&failed)? {
            let size = entry.map_err(&failed)?.size();
            self.entries += 1;
            self.content += size;
            self.blocks += size.next_multiple_of(BLOCK);
        }
        Ok(())
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} layers, {} MB compressed",
            self.layers,
            self.compressed / 1_000_000
        )?;
        if self.entries == 0 {
            return Ok(());
        }
        let megabytes = self.content / 1_000_000;
        write!(
            formatter,
            ", {} entries and {megabytes} MB in all layers",
            self.entries
        )
    }
}
