//! Finding and removing what an interrupted image operation left.

use std::collections::HashSet;

use camino::{Utf8Path, Utf8PathBuf};

use super::local::ReconcileImagesError;
use crate::{
    directories::Directories,
    domain::{Image, ImageId},
    host_fs::{IoContext as _, PathError, Staging, remove_tree_if_present},
    store::Store,
};

/// Removes abandoned staging directories and image directories without the
/// record of a managed image. The caller holds the publish lock, so no publication is half-way.
pub(super) async fn sweep(
    store: &Store,
    directories: &Directories,
) -> Result<Vec<Utf8PathBuf>, ReconcileImagesError> {
    let images = directories.images();
    let mut removed = Staging::remove_abandoned(&images)?;
    let published = published(&images)?;
    if published.is_empty() {
        return Ok(removed);
    }
    // a promotion that ended early left the directory of an unmanaged image
    let recorded: HashSet<ImageId> = store
        .images()
        .await?
        .into_iter()
        .filter(Image::is_managed)
        .map(|image| image.id)
        .collect();
    for id in published.into_iter().filter(|id| !recorded.contains(id)) {
        let directory = directories.image(id);
        remove_tree_if_present(&directory)?;
        removed.push(directory);
    }
    Ok(removed)
}

/// The ids that directories of published images are named by. Anything else
/// that lies there is not ours to remove.
fn published(images: &Utf8Path) -> Result<Vec<ImageId>, PathError> {
    if !images.exists() {
        return Ok(Vec::new());
    }
    let mut ids = Vec::new();
    for entry in images.read_dir_utf8().at("read directory", images)? {
        let entry = entry.at("read directory", images)?;
        ids.extend(entry.file_name().parse::<ImageId>().ok());
    }
    Ok(ids)
}
