//! Images.

use banger_api::v1::{self, image::Origin};
use banger_core::domain::{BootArtifacts, Image, ImageOrigin, RunConfig, Verdict};
use camino::Utf8PathBuf;

use super::{etag, timestamp};
use crate::request::name::{IMAGES, KERNELS};

pub(crate) fn image(image: &Image) -> v1::Image {
    let kernel = image.kernel.as_ref();
    v1::Image {
        name: IMAGES.name(&image.name),
        uid: image.id.to_string(),
        etag: etag(&[&image.id, &image.updated]),
        create_time: timestamp(image.created),
        update_time: timestamp(image.updated),
        managed: image.is_managed(),
        disk_bytes: image.sizes.apparent.get(),
        on_disk_bytes: image.sizes.on_disk.get(),
        kernel: kernel.map(|name| KERNELS.name(name)).unwrap_or_default(),
        origin: origin(&image.origin),
        run_config: Some(run_config(&image.run_config)),
        directory: path(image.artifact_directory.as_ref()),
        rootfs: image.rootfs.to_string(),
        boot_files: Some(boot_files(&image.boot)),
        package_hash: image.package_hash.clone().unwrap_or_default(),
        disk_method: image
            .disk
            .method
            .map(|method| method.as_str().to_owned())
            .unwrap_or_default(),
        verdict: image.verdict.as_ref().map(verdict),
    }
}

fn path(path: Option<&Utf8PathBuf>) -> String {
    path.map(ToString::to_string).unwrap_or_default()
}

pub(super) fn boot_files(boot: &BootArtifacts) -> v1::BootFiles {
    v1::BootFiles {
        kernel: boot.kernel.to_string(),
        initrd: path(boot.initrd.as_ref()),
        modules: path(boot.modules.as_ref()),
    }
}

pub(super) fn verdict(verdict: &Verdict) -> v1::PolicyVerdict {
    v1::PolicyVerdict {
        rule: verdict.rule.clone(),
        vouched: verdict.vouched.to_string(),
    }
}

fn origin(origin: &ImageOrigin) -> Option<Origin> {
    Some(match origin {
        ImageOrigin::Oci {
            reference,
            manifest,
        } => Origin::Oci(v1::OciOrigin {
            reference: reference.clone(),
            manifest_digest: manifest.to_string(),
        }),
        ImageOrigin::Registered => Origin::Registered(v1::RegisteredOrigin {}),
        ImageOrigin::Promoted => Origin::Promoted(v1::PromotedOrigin {}),
        ImageOrigin::Built {
            base,
            base_name,
            input,
        } => Origin::Built(v1::BuiltOrigin {
            base: IMAGES.name(base_name),
            input_digest: input.to_string(),
            base_uid: base.to_string(),
        }),
        ImageOrigin::Containerfile { path, manifest } => {
            Origin::Containerfile(v1::ContainerfileOrigin {
                manifest_digest: manifest.to_string(),
                path: path.to_string(),
            })
        }
        ImageOrigin::Bundle { reference, sha256 } => Origin::Bundle(v1::BundleOrigin {
            reference: reference.clone(),
            digest: sha256.to_string(),
        }),
        _ => return None,
    })
}

fn run_config(config: &RunConfig) -> v1::RunConfig {
    v1::RunConfig {
        entrypoint: config.entrypoint.clone(),
        cmd: config.cmd.clone(),
        env: config.env.clone(),
        user: config.user.clone(),
        working_directory: config.working_directory.clone(),
        labels: config.labels.clone(),
        stop_signal: config.stop_signal.clone(),
    }
}
