//! The golden image: from its Containerfile, or from a layout that is there
//! already, to a bundle and the catalog that offers it.
//!
//! Invariants: everything is made by the `banger` of this workspace, in a
//! state of its own that is gone afterwards; the output appears whole; with a
//! layout and a kernel package at hand, no network is needed.
//! Entry points: [`build`], [`provide`].

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    Result,
    paths::{failed_at, publish, target, workspace},
    run::{capture, command, run, step},
    testbed::{KERNEL_PACKAGE, Part},
    tests::cargo,
};

/// The image's name, in the store and in the catalog.
const IMAGE: &str = "golden";
/// Its kernel's.
const KERNEL: &str = "golden-kernel";
/// The image's tag while it is built.
const BUILT: &str = "localhost/banger-golden:latest";

/// What the golden image is made of.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    /// A reference as `oci:DIR:TAG`; built from the Containerfile when there
    /// is none.
    pub(crate) layout: Option<String>,
    /// A source as `banger kernel import` takes it.
    pub(crate) kernel: String,
}

/// Makes the golden image at `output`: two bundles and `catalog.json`.
pub(crate) fn build(parts: &Parts, output: Option<&Path>) -> Result<()> {
    build_banger()?;
    let usual = target().join("golden-image");
    let output = output.unwrap_or(&usual);
    publish(output, |directory| make(parts, directory))
}

/// Makes the golden image of the tests, of a layout and a kernel package of
/// the test bed, anew whenever the program that makes it changed.
pub(crate) fn provide(testbed: &Path) -> Result<()> {
    build_banger()?;
    let program = fs::read(banger()).map_err(failed_at(&banger()))?;
    let below = |path: &str| testbed.join(path).display().to_string();
    let parts = Parts {
        layout: Some(format!("oci:{}:latest", below("busybox"))),
        kernel: format!("deb:{}", below("kernel/kernel.deb")),
    };
    let part = Part {
        name: "golden-image",
        what: "bundling a golden image",
        recipe: hex::encode(Sha256::digest(program)),
        make: &|directory| make(&parts, directory),
    };
    crate::testbed::provide(testbed, &part).map(drop)
}

/// The kernel that is bundled when no other is given.
pub(crate) fn usual_kernel() -> String {
    format!("apt:{KERNEL_PACKAGE}")
}

fn build_banger() -> Result<()> {
    step("building banger", || {
        run(cargo().args(["build", "--quiet", "--package", "banger-cli"]))
    })
}

fn banger() -> PathBuf {
    target().join("debug/banger")
}

fn make(parts: &Parts, directory: &Path) -> Result<()> {
    let work = directory.join("work");
    fs::create_dir_all(&work).map_err(failed_at(&work))?;
    let layout = match &parts.layout {
        Some(layout) => layout.clone(),
        None => step("building the Containerfile", || build_layout(&work))?,
    };
    let store = Store { work: &work };
    let import = ["kernel", "import", &parts.kernel, "--name", KERNEL];
    run(&mut store.command(&import))?;
    let pull = [
        "image", "pull", &layout, "--name", IMAGE, "--kernel", KERNEL,
    ];
    run(&mut store.command(&pull))?;
    let image = store.bundle(&["image", "bundle", IMAGE], directory, IMAGE)?;
    let kernel = store.bundle(&["kernel", "bundle", KERNEL], directory, KERNEL)?;
    write_catalog(directory, image, kernel)?;
    fs::remove_dir_all(&work).map_err(failed_at(&work))
}

/// Builds the Containerfile with buildah, into a layout.
fn build_layout(work: &Path) -> Result<String> {
    let context = workspace().join("examples/golden-image");
    // chroot needs no runtime besides buildah itself
    let build = ["build", "--isolation", "chroot", "--tag", BUILT, "."];
    run(command("buildah", &context).args(build))
        .map_err(|error| format!("{error}; a layout that is there can be given with --layout"))?;
    let layout = format!("oci:{}:{IMAGE}", work.join("layout").display());
    run(command("buildah", work).args(["push", "--quiet", BUILT, &layout]))?;
    Ok(layout)
}

/// A store that lasts as long as the making.
struct Store<'a> {
    work: &'a Path,
}

impl Store<'_> {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut banger = command(banger(), workspace());
        banger
            .args(arguments)
            .env("BANGER_STATE_DIR", self.work.join("state"))
            .env("BANGER_CACHE_DIR", self.work.join("cache"))
            .env("BANGER_CONFIG", "/dev/null");
        banger
    }

    /// Writes a bundle, names it by its content, and answers the parts of its
    /// catalog entry that are known of every bundle.
    fn bundle(&self, verb: &[&str], directory: &Path, name: &str) -> Result<Value> {
        let made = self.work.join("bundle.tar.zst");
        let target = made.display().to_string();
        let line = [&["--json"], verb, &["--output", &target]].concat();
        let answer = capture(&mut self.command(&line))?;
        let bundle: Value = serde_json::from_str(&answer)
            .map_err(|error| format!("banger answered no JSON: {error}"))?;
        let sha256 = bundle["sha256"].as_str().unwrap_or_default();
        let short = sha256.get(..12).ok_or("banger answered no digest")?;
        let file = format!("{name}-{short}.tar.zst");
        let kept = directory.join(&file);
        fs::rename(&made, &kept).map_err(failed_at(&kept))?;
        Ok(json!({
            "name": name,
            "architecture": std::env::consts::ARCH,
            "source": file,
            "sha256": sha256,
            "size": bundle["size"],
        }))
    }
}

/// Writes a catalog whose bundles lie beside it, wherever all of them go.
fn write_catalog(directory: &Path, mut image: Value, mut kernel: Value) -> Result<()> {
    image["description"] = json!("banger's golden image, with its kernel");
    kernel["description"] = json!("the kernel of banger's golden image");
    let catalog = json!({"format": 1, "kernels": [kernel], "images": [image]});
    let path = directory.join("catalog.json");
    let text = format!("{catalog:#}\n");
    fs::write(&path, text).map_err(failed_at(&path))
}
