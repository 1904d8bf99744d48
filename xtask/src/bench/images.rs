//! The images that are measured: OCI layouts below `target/bench/images`.
//!
//! Invariants: an image is made once, and again only when its recipe or that
//! of its base changes; it appears whole. Layers are made the way docker's
//! overlay makes them: each step works on an overlay of all layers before it,
//! and what the overlay kept of it becomes the layer. That wants mounts, which
//! live in a mount namespace and thus end with the process that made them.
//! Entry points: [`make`], [`Image`].

mod layers;
mod overlay;
mod recipe;
mod zstd;

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::ValueEnum;

use super::counts::Counts;
use crate::{
    Result, packages,
    paths::{bench, failed_at, workspace},
    run::{command, run, say},
    testbed::{self, Part, debian, layout},
};

/// The tag of every image.
pub(super) const TAG: &str = "bench";

/// One image that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Image {
    /// Debian's essential packages in one layer
    Small,
    /// Seven layers with compilers, languages and all that layers can hold
    Medium,
    /// The same in zstd
    MediumZstd,
    /// Nine layers with many thousand small files, pruned and chowned
    Large,
}

impl Image {
    /// Those that are measured unless others are asked for.
    pub(super) const USUAL: [Self; 3] = [Self::Small, Self::Medium, Self::Large];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Medium => "medium",
            Self::MediumZstd => "medium-zstd",
            Self::Large => "large",
        }
    }

    /// Where its layout is.
    pub(super) fn layout(self) -> PathBuf {
        directory().join(self.name())
    }

    const fn base(self) -> Option<Self> {
        match self {
            Self::Small => None,
            Self::Medium => Some(Self::Small),
            Self::MediumZstd | Self::Large => Some(Self::Medium),
        }
    }

    /// The steps that make its layers above those of its base.
    const fn steps(self) -> &'static [&'static str] {
        match self {
            Self::Small | Self::MediumZstd => &[],
            Self::Medium => &recipe::MEDIUM,
            Self::Large => &recipe::LARGE,
        }
    }

    /// Changes whenever the image must be made anew.
    fn recipe(self) -> Result<String> {
        let base = match self.base() {
            Some(base) => base.recipe()?,
            None => debian::release()?,
        };
        Ok(format!("1 {base} {} {:?}", recipe::PRELUDE, self.steps()))
    }

    fn make(self, staging: &Path) -> Result<()> {
        match self {
            Self::Small => make_small(staging),
            Self::MediumZstd => zstd::recompress(&Self::Medium.layout(), staging),
            Self::Medium | Self::Large => make_in_namespace(self, staging),
        }?;
        say(&format!(
            "the {} image: {}",
            self.name(),
            Counts::of(staging)?
        ));
        Ok(())
    }
}

fn directory() -> PathBuf {
    bench().join("images")
}

/// Makes whatever is missing of these images, or of the usual ones.
pub(super) fn make(images: &[Image]) -> Result<()> {
    testbed::check_architecture()?;
    if !packages::is_root() {
        return Err("benchmarks mount disks and make device nodes: run them as root".to_owned());
    }
    packages::install(packages::Set::Bench)?;
    let images = if images.is_empty() {
        &Image::USUAL
    } else {
        images
    };
    images.iter().try_for_each(|image| provide(*image))
}

/// Makes an image, and its base before it, unless it is there.
fn provide(image: Image) -> Result<()> {
    if let Some(base) = image.base() {
        provide(base)?;
    }
    let part = Part {
        name: image.name(),
        what: &format!("making the {} image", image.name()),
        recipe: image.recipe()?,
        make: &|staging| image.make(staging),
    };
    testbed::provide(&directory(), &part).map(drop)
}

fn make_small(staging: &Path) -> Result<()> {
    let root = staging.join("root.tar");
    debian::debootstrap(staging, &root, "")?;
    layout::make(staging, TAG, &[&root], "/bin/sh")?;
    fs::remove_file(&root).map_err(failed_at(&root))
}

/// Runs this program again where mounts of its own are no one else's.
fn make_in_namespace(image: Image, staging: &Path) -> Result<()> {
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    run(command("unshare", workspace())
        .args(["--mount", "--propagation=private"])
        .arg(this)
        .args(["bench", "make-image", image.name()])
        .arg(staging))
}

/// Fills `staging` with a layout; the caller's mount namespace is left dirty.
pub(super) fn make_inside(image: Image, staging: &Path) -> Result<()> {
    let base = image.base().ok_or("this image has no base")?.layout();
    let scratch = staging.join("scratch");
    overlay::mount_memory(&scratch)?;
    let tree = overlay::unpack(&base, &scratch)?;
    let kept = overlay::perform(image.steps(), &tree, &scratch)?;
    layout::extend(staging, &base)?;
    for upper in kept {
        let archive = layers::archive(&upper)?;
        layout::add(staging, TAG, &archive)?;
        fs::remove_file(&archive).map_err(failed_at(&archive))?;
    }
    layout::finish(staging)?;
    overlay::unmount(&scratch)?;
    fs::remove_dir(&scratch).map_err(failed_at(&scratch))
}
