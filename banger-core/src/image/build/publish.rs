//! Publishing a built image: rename, then the record, under the short lock.

use super::{
    super::{LocalImageManager, local::publish_lock},
    BuildImageError,
};
use crate::{
    domain::{Image, ImageName},
    host_fs::{Staging, remove_tree_if_present},
    store::InsertError,
    task::settle,
};

/// Makes and locks the staging directory of `target`.
pub(super) async fn stage(
    manager: &LocalImageManager,
    name: &ImageName,
    target: &camino::Utf8Path,
) -> Result<Staging, BuildImageError> {
    let lock = publish_lock(&manager.options.directories).await;
    let _lock = lock.map_err(BuildImageError::lock(name))?;
    Staging::create(target).map_err(BuildImageError::io(name))
}

/// Refuses a name that an image has.
pub(super) async fn name_is_free(
    manager: &LocalImageManager,
    name: &ImageName,
) -> Result<(), BuildImageError> {
    let taken = manager.options.store.is_image_name(name).await;
    if taken.map_err(BuildImageError::store(name))? {
        return Err(BuildImageError::AlreadyExists { name: name.clone() });
    }
    Ok(())
}

/// Publishes a directory and its record, to the end even when the caller is
/// gone.
pub(super) async fn publish(
    manager: &LocalImageManager,
    staging: Staging,
    record: Image,
) -> Result<Image, BuildImageError> {
    let options = manager.options.clone();
    let publication = manager.publications.spawn(async move {
        let name = record.name.clone();
        let lock = publish_lock(&options.directories).await;
        let _lock = lock.map_err(BuildImageError::lock(&name))?;
        let directory = staging.target().to_owned();
        staging.publish().map_err(BuildImageError::io(&name))?;
        let failure = match options.store.insert_image(&record).await {
            Ok(()) => return Ok(record),
            Err(InsertError::Taken) => BuildImageError::AlreadyExists { name },
            Err(InsertError::Store(source)) => BuildImageError::Store { name, source },
        };
        if let Err(error) = remove_tree_if_present(&directory) {
            tracing::warn!(%error, "an image directory without a record is left for the next reconcile");
        }
        Err(failure)
    });
    settle(publication).await
}
