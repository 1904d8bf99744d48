//! Writing an image into a bundle.

use super::{BundleImageError, BundleImageRequest, LocalImageManager};
use crate::{
    bundle::{BundleContents, Content, Written, write},
    domain::Image,
    progress::ProgressSink,
    task::telling,
};

pub(super) async fn bundle(
    manager: &LocalImageManager,
    request: BundleImageRequest,
    progress: &dyn ProgressSink,
) -> Result<Written, BundleImageError> {
    let image = manager.find(&request.image).await?;
    let name = image.name.clone();
    let contents = contents(image, request.with_kernel);
    let target = request.target.clone();
    let written = telling(progress, move |progress, cancelled| {
        write(&contents, &target, progress, cancelled)
    });
    let target = &request.target;
    written
        .await
        .map_err(|error| BundleImageError::of_bundle(name, target, error))
}

fn contents(image: Image, with_kernel: bool) -> BundleContents {
    BundleContents {
        content: Content::Image {
            name: image.name,
            run_config: image.run_config,
            package_hash: image.package_hash,
        },
        architecture: std::env::consts::ARCH.to_owned(),
        rootfs: Some(image.rootfs),
        boot: with_kernel.then_some(image.boot),
    }
}
