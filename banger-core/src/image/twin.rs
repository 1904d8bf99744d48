//! Disks that are there already: of the same manifest, made in the same way.
//!
//! The same manifest and recipe make the same bytes, so that a copy (by
//! reflink where possible) is as good as another build, and needs no layer.

use std::fs::File;

use super::{LocalImageManager, PullRequest};
use crate::{
    domain::{Image, ImageOrigin},
    oci::ResolvedImage,
    store::StoreError,
};

/// What a disk's bytes depend on besides the manifest: the version of the
/// writer and what it was asked for.
pub(super) fn recipe(request: &PullRequest) -> String {
    let size = request.size.map(|size| size.get().to_string());
    let size = size.as_deref().unwrap_or("default");
    format!("{} size={size}", env!("CARGO_PKG_VERSION"))
}

/// The open disk of an image that is the same, if there is one. It stays
/// readable when that image is deleted meanwhile.
pub(super) async fn find(
    manager: &LocalImageManager,
    request: &PullRequest,
    image: &ResolvedImage,
) -> Result<Option<File>, StoreError> {
    let recipe = recipe(request);
    let images = manager.options.store.images_of(&image.manifest).await?;
    let mut same = images.iter().filter(|it| is_same(it, image, &recipe));
    // one that was deleted, or lost its disk, is no help
    Ok(same.find_map(whole_disk))
}

fn is_same(there: &Image, wanted: &ResolvedImage, recipe: &str) -> bool {
    let has_manifest = matches!(
        &there.origin,
        ImageOrigin::Oci { manifest, .. } if *manifest == wanted.manifest
    );
    let layers = wanted.layers.iter().map(|layer| &layer.digest);
    has_manifest
        && there.is_managed()
        && there.disk.recipe.as_deref() == Some(recipe)
        && there.disk.layers.iter().eq(layers)
}

fn whole_disk(image: &Image) -> Option<File> {
    let disk = File::open(&image.rootfs).ok()?;
    let length = disk.metadata().ok()?.len();
    (length == image.sizes.apparent.get()).then_some(disk)
}
