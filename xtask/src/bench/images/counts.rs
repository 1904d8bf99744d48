//! What an image consists of, for a person.

use std::{
    fs::{self, File},
    path::Path,
};

use flate2::read::MultiGzDecoder;

use super::{super::layout, Image};
use crate::{Result, paths::failed_at};

/// What layers add up to.
#[derive(Default)]
struct Counts {
    layers: usize,
    compressed: u64,
    entries: u64,
    content: u64,
}

/// One line about an image that was made.
pub(super) fn of(image: Image) -> Result<String> {
    let mut counts = Counts::default();
    for layer in layout::layers(&image.layout())? {
        counts.layers += 1;
        counts.compressed += fs::metadata(&layer).map_err(failed_at(&layer))?.len();
        if image != Image::MediumZstd {
            counts.add(&layer)?;
        }
    }
    Ok(format!(
        "the {} image: {} layers, {} MB compressed; {} entries, {} MB in all layers",
        image.name(),
        counts.layers,
        counts.compressed / 1_000_000,
        counts.entries,
        counts.content / 1_000_000
    ))
}

impl Counts {
    fn add(&mut self, layer: &Path) -> Result<()> {
        let failed = failed_at(layer);
        let file = File::open(layer).map_err(&failed)?;
        let mut archive = tar::Archive::new(MultiGzDecoder::new(file));
        for entry in archive.entries().map_err(&failed)? {
            self.entries += 1;
            self.content += entry.map_err(&failed)?.size();
        }
        Ok(())
    }
}
