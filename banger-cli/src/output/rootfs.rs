//! Root disks that were built.

use std::time::Duration;

use banger_core::{
    domain::Bytes,
    oci::{Compression, LayerDescriptor},
    rootfs::{BuildRequest, BuiltRootfs},
};
use serde::Serialize;

use super::details;

/// A root disk, as JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RootfsOutput {
    output: String,
    reference: String,
    platform: String,
    manifest: String,
    layers: Vec<LayerOutput>,
    entries: u64,
    content_bytes: u64,
    stored_bytes: u64,
    metadata_bytes: u64,
    written_bytes: u64,
    apparent_bytes: u64,
    on_disk_bytes: u64,
    timings: TimingsOutput,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct LayerOutput {
    digest: String,
    diff_id: String,
    size_bytes: u64,
    compression: &'static str,
}

/// Seconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct TimingsOutput {
    resolve: f64,
    fetch: f64,
    layers: f64,
    merge: f64,
    metadata: f64,
    sync: f64,
    total: f64,
}

impl RootfsOutput {
    /// What was built of `request` in `total`.
    #[must_use]
    pub fn new(request: &BuildRequest, built: &BuiltRootfs, total: Duration) -> Self {
        let (report, image) = (&built.report, &built.image);
        Self {
            output: request.output.to_string(),
            reference: request.reference.to_string(),
            platform: request.platform.to_string(),
            manifest: image.manifest.to_string(),
            layers: image.layers.iter().map(layer).collect(),
            entries: report.entries,
            content_bytes: report.content.get(),
            stored_bytes: report.stored.get(),
            metadata_bytes: report.metadata.get(),
            written_bytes: report.written.get(),
            apparent_bytes: report.sizes.apparent.get(),
            on_disk_bytes: report.sizes.on_disk.get(),
            timings: TimingsOutput {
                resolve: built.resolving.as_secs_f64(),
                fetch: built.fetching.as_secs_f64(),
                layers: report.timings.layers.as_secs_f64(),
                merge: report.timings.merge.as_secs_f64(),
                metadata: report.timings.metadata.as_secs_f64(),
                sync: report.timings.sync.as_secs_f64(),
                total: total.as_secs_f64(),
            },
        }
    }
}

fn layer(layer: &LayerDescriptor) -> LayerOutput {
    LayerOutput {
        digest: layer.digest.to_string(),
        diff_id: layer.diff_id.to_string(),
        size_bytes: layer.size.get(),
        compression: match layer.compression {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Zstd => "zstd",
            _ => "other",
        },
    }
}

/// A root disk for people.
#[must_use]
pub fn rootfs_details(output: &RootfsOutput) -> String {
    let bytes = |bytes| Bytes::new(bytes).to_string();
    details(&[
        ("disk", output.output.clone()),
        ("manifest", output.manifest.clone()),
        ("size", bytes(output.apparent_bytes)),
        ("on disk", bytes(output.on_disk_bytes)),
        ("content", bytes(output.content_bytes)),
        ("metadata", bytes(output.metadata_bytes)),
        ("entries", output.entries.to_string()),
        ("seconds", format!("{:.2}", output.timings.total)),
    ])
}
