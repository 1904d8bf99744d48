//! Images.

use banger_core::domain::{Image, ImageOrigin};
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
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct RunConfigOutput {
    entrypoint: Vec<String>,
    cmd: Vec<String>,
    env: Vec<String>,
    user: String,
    working_directory: String,
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
            },
            apparent_bytes: image.sizes.apparent.get(),
            on_disk_bytes: image.sizes.on_disk.get(),
            package_hash: image.package_hash.clone(),
            policy: image.verdict.as_ref().map(VerdictOutput::from),
            created: timestamp(image.created),
            updated: timestamp(image.updated),
        }
    }
}

impl From<&ImageOrigin> for OriginOutput {
    fn from(origin: &ImageOrigin) -> Self {
        let (kind, reference, manifest) = match origin {
            ImageOrigin::Registered => ("registered", None, None),
            ImageOrigin::Bundle { reference, sha256 } => {
                return Self {
                    kind: "bundle",
                    reference: Some(reference.clone()),
                    manifest: None,
                    sha256: Some(sha256.to_hex()),
                };
            }
            ImageOrigin::Oci {
                reference,
                manifest,
            } => ("oci", Some(reference.clone()), Some(manifest.to_string())),
            _ => ("other", None, None),
        };
        Self {
            kind,
            reference,
            manifest,
            sha256: None,
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
            origin_text(&image.origin),
        ]
    };
    let head = [
        "NAME", "ID", "KERNEL", "SIZE", "ON DISK", "CREATED", "ORIGIN",
    ];
    table(&head, &images.iter().map(row).collect::<Vec<_>>())
}

/// One image for people.
#[must_use]
pub fn image_details(image: &Image) -> String {
    let optional = |path: Option<&camino::Utf8PathBuf>| {
        path.map_or_else(|| "none".to_owned(), ToString::to_string)
    };
    let run = &image.run_config;
    let command = [run.entrypoint.as_slice(), run.cmd.as_slice()].concat();
    details(&[
        ("name", image.name.to_string()),
        ("id", image.id.to_string()),
        ("managed", image.is_managed().to_string()),
        ("origin", origin_text(&image.origin)),
        ("digest", digest_text(&image.origin)),
        ("policy", verdict_text(image.verdict.as_ref())),
        ("kernel", kernel_text(image)),
        ("rootfs", image.rootfs.to_string()),
        ("vmlinux", image.boot.kernel.to_string()),
        ("initrd", optional(image.boot.initrd.as_ref())),
        ("modules", optional(image.boot.modules.as_ref())),
        ("size", image.sizes.apparent.to_string()),
        ("on disk", image.sizes.on_disk.to_string()),
        ("command", format!("{command:?}")),
        ("env", format!("{:?}", run.env)),
        ("user", run.user.clone()),
        ("directory", run.working_directory.clone()),
        ("created", time(image.created)),
        ("updated", time(image.updated)),
    ])
}

fn kernel_text(image: &Image) -> String {
    let name = image.kernel.as_ref();
    name.map_or_else(|| "(by path)".to_owned(), ToString::to_string)
}

fn digest_text(origin: &ImageOrigin) -> String {
    match origin {
        ImageOrigin::Oci { manifest, .. } => manifest.to_string(),
        ImageOrigin::Bundle { sha256, .. } => sha256.to_string(),
        _ => "none".to_owned(),
    }
}

fn origin_text(origin: &ImageOrigin) -> String {
    match origin {
        ImageOrigin::Registered => "registered".to_owned(),
        ImageOrigin::Oci { reference, .. } | ImageOrigin::Bundle { reference, .. } => {
            reference.clone()
        }
        _ => "other".to_owned(),
    }
}
