//! Images.

use std::collections::BTreeMap;

use banger_core::{
    domain::{DiskMethod, Image, ImageOrigin},
    image::{SavedImage, Staleness, staleness},
};
use camino::Utf8Path;
use serde::Serialize;

use super::{BootOutput, VerdictOutput, details, table, time, timestamp, verdict_text};

/// An image, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImageOutput {
    id: String,
    name: String,
    managed: bool,
    artifact_directory: Option<String>,
    rootfs: String,
    boot: BootOutput,
    kernel_name: Option<String>,
    origin: OriginOutput,
    run_config: RunConfigOutput,
    apparent_bytes: u64,
    on_disk_bytes: u64,
    package_hash: Option<String>,
    disk_method: Option<&'static str>,
    stale: Vec<&'static str>,
    policy: Option<VerdictOutput>,
    created: Option<String>,
    updated: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct OriginOutput {
    kind: &'static str,
    reference: Option<String>,
    manifest: Option<String>,
    sha256: Option<String>,
    base: Option<BaseOutput>,
    input: Option<String>,
    containerfile: Option<String>,
}

/// The image that another one was built from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct BaseOutput {
    id: String,
    name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct RunConfigOutput {
    entrypoint: Vec<String>,
    cmd: Vec<String>,
    env: Vec<String>,
    user: String,
    working_directory: String,
    stop_signal: String,
    labels: BTreeMap<String, String>,
}

impl ImageOutput {
    /// An image of all these, and whether it is stale.
    #[must_use]
    pub fn among(image: &Image, images: &[Image]) -> Self {
        let reasons = staleness(image, images);
        Self {
            stale: reasons.iter().map(stale_name).collect(),
            ..Self::from(image)
        }
    }
}

const fn stale_name(reason: &Staleness) -> &'static str {
    match reason {
        Staleness::Packages => "packages",
        Staleness::Base { .. } => "base",
        _ => "other",
    }
}

impl From<&Image> for ImageOutput {
    fn from(image: &Image) -> Self {
        let run = image.run_config.clone();
        Self {
            id: image.id.to_string(),
            name: image.name.to_string(),
            managed: image.is_managed(),
            artifact_directory: image.artifact_directory.as_ref().map(ToString::to_string),
            rootfs: image.rootfs.to_string(),
            boot: BootOutput::from(&image.boot),
            kernel_name: image.kernel.as_ref().map(ToString::to_string),
            origin: OriginOutput::from(&image.origin),
            run_config: RunConfigOutput {
                entrypoint: run.entrypoint,
                cmd: run.cmd,
                env: run.env,
                user: run.user,
                working_directory: run.working_directory,
                stop_signal: run.stop_signal,
                labels: run.labels,
            },
            apparent_bytes: image.sizes.apparent.get(),
            on_disk_bytes: image.sizes.on_disk.get(),
            package_hash: image.package_hash.clone(),
            disk_method: image.disk.method.map(DiskMethod::as_str),
            stale: Vec::new(),
            policy: image.verdict.as_ref().map(VerdictOutput::from),
            created: timestamp(image.created),
            updated: timestamp(image.updated),
        }
    }
}

impl From<&ImageOrigin> for OriginOutput {
    fn from(origin: &ImageOrigin) -> Self {
        let nothing = Self {
            kind: "other",
            reference: None,
            manifest: None,
            sha256: None,
            base: None,
            input: None,
            containerfile: None,
        };
        match origin {
            ImageOrigin::Registered => Self {
                kind: "registered",
                ..nothing
            },
            ImageOrigin::Promoted => Self {
                kind: "promoted",
                ..nothing
            },
            ImageOrigin::Bundle { reference, sha256 } => Self {
                kind: "bundle",
                reference: Some(reference.clone()),
                sha256: Some(sha256.to_hex()),
                ..nothing
            },
            ImageOrigin::Oci {
                reference,
                manifest,
            } => Self {
                kind: "oci",
                reference: Some(reference.clone()),
                manifest: Some(manifest.to_string()),
                ..nothing
            },
            ImageOrigin::Built {
                base,
                base_name,
                input,
            } => Self {
                kind: "built",
                base: Some(BaseOutput {
                    id: base.to_string(),
                    name: base_name.to_string(),
                }),
                input: Some(input.to_string()),
                ..nothing
            },
            ImageOrigin::Containerfile { path, manifest } => Self {
                kind: "containerfile",
                containerfile: Some(path.to_string()),
                manifest: Some(manifest.to_string()),
                ..nothing
            },
            _ => nothing,
        }
    }
}

/// A saved image, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SavedOutput {
    image: String,
    file: String,
    bytes: u64,
    digest: String,
    left_out_sockets: u64,
}

impl SavedOutput {
    /// What was written to `file`.
    #[must_use]
    pub fn new(saved: &SavedImage, file: &Utf8Path) -> Self {
        Self {
            image: saved.image.name.to_string(),
            file: file.to_string(),
            bytes: saved.size.get(),
            digest: saved.digest.to_string(),
            left_out_sockets: saved.sockets,
        }
    }
}

/// Images for people.
#[must_use]
pub fn image_table(images: &[Image]) -> String {
    let row = |image: &Image| {
        vec![
            image.name.to_string(),
            image.id.short(),
            kernel_text(image),
            image.sizes.apparent.to_string(),
            image.sizes.on_disk.to_string(),
            time(image.created),
            origin_text(&image.origin) + stale_mark(image, images),
        ]
    };
    let head = [
        "NAME", "ID", "KERNEL", "SIZE", "ON DISK", "CREATED", "ORIGIN",
    ];
    table(&head, &images.iter().map(row).collect::<Vec<_>>())
}

fn stale_mark(image: &Image, images: &[Image]) -> &'static str {
    if staleness(image, images).is_empty() {
        ""
    } else {
        " (stale)"
    }
}

fn stale_text(image: &Image, images: &[Image]) -> String {
    let words = |reason: &Staleness| match reason {
        Staleness::Packages => "its packages are not today's".to_owned(),
        Staleness::Base { name } => format!("image {name} was replaced since"),
        _ => "yes".to_owned(),
    };
    let reasons: Vec<String> = staleness(image, images).iter().map(words).collect();
    if reasons.is_empty() {
        return "no".to_owned();
    }
    reasons.join("; ")
}

/// One image of all these for people.
#[must_use]
pub fn image_details(image: &Image, images: &[Image]) -> String {
    let optional = |path: Option<&camino::Utf8PathBuf>| {
        path.map_or_else(|| "none".to_owned(), ToString::to_string)
    };
    let run = &image.run_config;
    let command = [run.entrypoint.as_slice(), run.cmd.as_slice()].concat();
    details(&[
        ("name", image.name.to_string()),
        ("id", image.id.to_string()),
        ("managed", image.is_managed().to_string()),
        ("origin", origin_details(&image.origin)),
        ("digest", digest_text(&image.origin)),
        ("policy", verdict_text(image.verdict.as_ref())),
        ("stale", stale_text(image, images)),
        ("kernel", kernel_text(image)),
        ("rootfs", image.rootfs.to_string()),
        ("vmlinux", image.boot.kernel.to_string()),
        ("initrd", optional(image.boot.initrd.as_ref())),
        ("modules", optional(image.boot.modules.as_ref())),
        ("size", image.sizes.apparent.to_string()),
        ("on disk", image.sizes.on_disk.to_string()),
        ("disk", disk_text(image)),
        ("command", format!("{command:?}")),
        ("env", format!("{:?}", run.env)),
        ("user", run.user.clone()),
        ("directory", run.working_directory.clone()),
        ("labels", format!("{:?}", run.labels)),
        ("created", time(image.created)),
        ("updated", time(image.updated)),
    ])
}

fn kernel_text(image: &Image) -> String {
    let name = image.kernel.as_ref();
    name.map_or_else(|| "(by path)".to_owned(), ToString::to_string)
}

fn disk_text(image: &Image) -> String {
    let method = image.disk.method;
    method.map_or("as given", DiskMethod::as_str).to_owned()
}

/// The same with all that is known.
fn origin_details(origin: &ImageOrigin) -> String {
    let text = origin_text(origin);
    match origin {
        ImageOrigin::Built { base, input, .. } => format!("{text} ({base}) with {input}"),
        _ => text,
    }
}

fn digest_text(origin: &ImageOrigin) -> String {
    match origin {
        ImageOrigin::Oci { manifest, .. } | ImageOrigin::Containerfile { manifest, .. } => {
            manifest.to_string()
        }
        ImageOrigin::Bundle { sha256, .. } => sha256.to_string(),
        _ => "none".to_owned(),
    }
}

fn origin_text(origin: &ImageOrigin) -> String {
    match origin {
        ImageOrigin::Registered => "registered".to_owned(),
        ImageOrigin::Promoted => "promoted".to_owned(),
        ImageOrigin::Oci { reference, .. } | ImageOrigin::Bundle { reference, .. } => {
            reference.clone()
        }
        ImageOrigin::Built { base_name, .. } => format!("built from {base_name}"),
        ImageOrigin::Containerfile { path, .. } => format!("built from {path}"),
        _ => "other".to_owned(),
    }
}
