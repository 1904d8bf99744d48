//! Real images, entry by entry: Debian in several sizes, and a busybox system.

use std::env;

use banger_core::{
    directories::Directories,
    oci::{ImageSource, ImageSources as _, Platform, SourceOptions},
    progress::NoProgress,
    rootfs::RootfsRequest,
};
use camino::{Utf8Path, Utf8PathBuf};

use super::{
    fixture::Bench,
    umoci::{difference, mounted, unpacked},
};

/// The images that `cargo xtask test` makes.
#[expect(clippy::disallowed_methods, reason = "where the test bed is")]
fn test_bed() -> Utf8PathBuf {
    let place = env::var("BANGER_TESTBED");
    Utf8PathBuf::from(place.unwrap_or_else(|_| panic!("use `cargo xtask test`")))
}

async fn request(source: &dyn ImageSource) -> RootfsRequest {
    let image = source.resolve(&Platform::host()).await.unwrap();
    let layers = source.fetch_layers(&image.layers, &NoProgress).await;
    RootfsRequest::new(layers.unwrap())
}

async fn compare(layout: &Utf8Path, tag: &str) {
    let bench = Bench::new();
    let nowhere = bench.path("state");
    let directories = Directories {
        state: nowhere.clone(),
        cache: nowhere.clone(),
        runtime: nowhere,
    };
    let reference = format!("oci:{layout}:{tag}").parse().unwrap();
    let source = SourceOptions::new(directories).open(&reference).unwrap();
    let report = bench.build(&request(source.as_ref()).await).unwrap();
    let expected = unpacked(&bench, &format!("{layout}:{tag}"));
    assert_eq!(
        report.entries,
        expected.len() as u64 - 1,
        "the root is no entry"
    );
    assert_eq!(difference(&mounted(&bench), &expected), None);
}

#[tokio::test]
async fn a_debian_with_systemd_equals_umocis_tree() {
    compare(&test_bed().join("systemd"), "latest").await;
}

#[tokio::test]
async fn a_debian_with_many_files_equals_umocis_tree() {
    compare(&test_bed().join("many-files"), "latest").await;
}

#[tokio::test]
async fn debian_equals_umocis_tree() {
    compare(&test_bed().join("debian"), "bookworm").await;
}

#[tokio::test]
async fn busybox_equals_umocis_tree() {
    compare(&test_bed().join("busybox"), "latest").await;
}
