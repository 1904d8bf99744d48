//! Whether an image that was built is still what a build would make today.
//! Pure.

use super::provision::packages_hash;
use crate::domain::{Image, ImageName, ImageOrigin};

/// Why an image is stale.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Staleness {
    /// The base packages it was built with are not today's. Versions of what
    /// else a build installs are no part of their hash, and change nothing.
    Packages,
    /// The image it was built from was replaced by another one of that name.
    Base {
        /// The name.
        name: ImageName,
    },
}

/// Every reason why `image` is stale, given all images. A base that is gone
/// without a successor makes nothing stale: there is nothing to build from.
#[must_use]
pub fn staleness(image: &Image, images: &[Image]) -> Vec<Staleness> {
    let hash = image.package_hash.as_ref();
    let packages = hash.is_some_and(|hash| *hash != packages_hash());
    let packages = packages.then_some(Staleness::Packages);
    packages
        .into_iter()
        .chain(replaced_base(image, images))
        .collect()
}

fn replaced_base(image: &Image, images: &[Image]) -> Option<Staleness> {
    let ImageOrigin::Built {
        base, base_name, ..
    } = &image.origin
    else {
        return None;
    };
    let is_successor = |other: &&Image| other.name == *base_name && other.id != *base;
    images.iter().find(is_successor).map(|_| Staleness::Base {
        name: base_name.clone(),
    })
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::domain::{BootArtifacts, Digest, DiskProvenance, ImageId, ImageSizes, RunConfig};

    fn image(name: &str, origin: ImageOrigin) -> Image {
        Image {
            id: ImageId::generate(),
            name: name.parse().unwrap(),
            artifact_directory: None,
            rootfs: "/r".into(),
            boot: BootArtifacts::default(),
            kernel: None,
            origin,
            run_config: RunConfig::default(),
            sizes: ImageSizes::default(),
            package_hash: None,
            disk: DiskProvenance::default(),
            verdict: None,
            created: SystemTime::UNIX_EPOCH,
            updated: SystemTime::UNIX_EPOCH,
        }
    }

    fn built_from(base: &Image) -> Image {
        let origin = ImageOrigin::Built {
            base: base.id,
            base_name: base.name.clone(),
            input: Digest::of(b"input"),
        };
        image("built", origin)
    }

    #[test]
    fn packages_of_another_day_are_stale_and_unknown_ones_are_not() {
        let mut built = built_from(&image("base", ImageOrigin::Registered));
        assert_eq!(staleness(&built, &[]), []);
        built.package_hash = Some(packages_hash());
        assert_eq!(staleness(&built, &[]), []);
        built.package_hash = Some(Digest::of(b"other lines").to_hex());
        assert_eq!(staleness(&built, &[]), [Staleness::Packages]);
    }

    #[test]
    fn a_base_is_stale_once_another_image_has_its_name() {
        let base = image("base", ImageOrigin::Registered);
        let built = built_from(&base);
        let other = image("other", ImageOrigin::Registered);
        assert_eq!(staleness(&built, &[base.clone(), other.clone()]), []);
        assert_eq!(staleness(&built, &[other]), []);
        let successor = image("base", ImageOrigin::Registered);
        let name = base.name;
        assert_eq!(staleness(&built, &[successor]), [Staleness::Base { name }]);
    }
}
