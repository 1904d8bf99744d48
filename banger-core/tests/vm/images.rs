//! More images for a host: each boots with the kernel of the first one.

use std::{fs, time::SystemTime};

use banger_core::{
    domain::{Bytes, DiskProvenance, Image, ImageId, ImageOrigin, ImageSizes, RunConfig, Selector},
    oci::{ImageSources as _, Platform, SourceOptions},
    progress::NoProgress,
    rootfs::{Ext4RootfsBuilder, RootfsBuilder as _, RootfsRequest},
    store::Found,
};
use camino::Utf8PathBuf;
use tokio_util::sync::CancellationToken;

use super::fixture::{Host, given, request_of_tar};

/// The image that every bootable host has.
pub(crate) async fn first(host: &Host) -> Image {
    match host.store.find_image(&Selector::from("box")).await.unwrap() {
        Found::One(image) => image,
        other => panic!("{other:?}"),
    }
}

/// The first image's disk under another name and with another configuration.
pub(crate) async fn add_variant(host: &Host, name: &str, run_config: RunConfig) {
    let rootfs = first(host).await.rootfs;
    add(host, name, rootfs, run_config).await;
}

async fn add(host: &Host, name: &str, rootfs: Utf8PathBuf, run_config: RunConfig) {
    let image = Image {
        id: ImageId::generate(),
        name: name.parse().unwrap(),
        artifact_directory: None,
        rootfs,
        kernel: None,
        origin: ImageOrigin::Registered,
        run_config,
        sizes: ImageSizes::default(),
        package_hash: None,
        disk: DiskProvenance::default(),
        verdict: None,
        created: SystemTime::UNIX_EPOCH,
        updated: SystemTime::UNIX_EPOCH,
        boot: first(host).await.boot,
    };
    host.store.insert_image(&image).await.unwrap();
}

/// An image with nothing but one static program, at `/busybox`.
pub(crate) async fn add_scratch(host: &Host, name: &str, run_config: RunConfig) {
    let busybox = fs::read("/bin/busybox").expect("install package busybox-static");
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o755);
    header.set_size(busybox.len() as u64);
    archive
        .append_data(&mut header, "busybox", busybox.as_slice())
        .unwrap();
    let layer = host.root().join(format!("{name}.tar"));
    let content = archive.into_inner().unwrap();
    let request = request_of_tar(&content, &layer, Bytes::from_mib(16));
    let rootfs = build(host, name, &request);
    add(host, name, rootfs, run_config).await;
}

/// A Debian with systemd as its init.
pub(crate) async fn add_systemd(host: &Host, name: &str) {
    let layout = given("BANGER_TESTBED").join("systemd");
    let reference = format!("oci:{layout}:latest").parse().unwrap();
    let sources = SourceOptions::new(host.directories.clone());
    let source = sources.open(&reference).unwrap();
    let image = source.resolve(&Platform::host()).await.unwrap();
    let layers = source.fetch_layers(&image.layers, &NoProgress).await;
    let rootfs = build(host, name, &RootfsRequest::new(layers.unwrap()));
    add(host, name, rootfs, image.run_config).await;
}

fn build(host: &Host, name: &str, request: &RootfsRequest) -> Utf8PathBuf {
    let output = host.root().join(format!("{name}.ext4"));
    Ext4RootfsBuilder
        .build(request, &output, &NoProgress, &CancellationToken::new())
        .unwrap();
    output
}
