//! Images and kernels.

use banger_api::v1::{self, image::Origin};
use banger_core::{
    domain::{
        BootArtifacts, Bytes, DiskMethod, DiskProvenance, Image, ImageOrigin, ImageSizes, Kernel,
        KernelOrigin, RunConfig, Verdict,
    },
    kernel::KernelSource,
};
use camino::Utf8PathBuf;

use super::{given, id_in, parse, present, time};
use crate::Failure;

pub(in crate::services) fn image(record: v1::Image) -> Result<Image, Failure> {
    let what = record.name.as_str();
    let kernel = match record.kernel.as_str() {
        "" => None,
        name => Some(id_in("kernels/", name)?),
    };
    let mut methods = DiskMethod::ALL.into_iter();
    let run = record.run_config.unwrap_or_default();
    Ok(Image {
        id: parse(what, &record.uid)?,
        name: id_in("images/", what)?,
        artifact_directory: path(record.directory),
        rootfs: record.rootfs.into(),
        boot: boot_files(record.boot_files),
        kernel,
        origin: origin(what, present(record.origin, what)?)?,
        run_config: RunConfig {
            entrypoint: run.entrypoint,
            cmd: run.cmd,
            env: run.env,
            user: run.user,
            working_directory: run.working_directory,
            stop_signal: run.stop_signal,
            labels: run.labels,
        },
        sizes: ImageSizes {
            apparent: Bytes::new(record.disk_bytes),
            on_disk: Bytes::new(record.on_disk_bytes),
        },
        disk: DiskProvenance {
            method: methods.find(|method| method.as_str() == record.disk_method),
            ..DiskProvenance::default()
        },
        package_hash: given(record.package_hash),
        verdict: record.verdict.map(|one| verdict(what, one)).transpose()?,
        created: present(time(what, record.create_time)?, what)?,
        updated: present(time(what, record.update_time)?, what)?,
    })
}

fn path(text: String) -> Option<Utf8PathBuf> {
    given(text).map(Utf8PathBuf::from)
}

fn boot_files(files: Option<v1::BootFiles>) -> BootArtifacts {
    let files = files.unwrap_or_default();
    BootArtifacts {
        kernel: files.kernel.into(),
        initrd: path(files.initrd),
        modules: path(files.modules),
    }
}

fn verdict(what: &str, verdict: v1::PolicyVerdict) -> Result<Verdict, Failure> {
    Ok(Verdict {
        vouched: parse(what, &verdict.vouched)?,
        rule: verdict.rule,
    })
}

fn origin(what: &str, origin: Origin) -> Result<ImageOrigin, Failure> {
    Ok(match origin {
        Origin::Registered(_) => ImageOrigin::Registered,
        Origin::Promoted(_) => ImageOrigin::Promoted,
        Origin::Oci(oci) => ImageOrigin::Oci {
            manifest: parse(what, &oci.manifest_digest)?,
            reference: oci.reference,
        },
        Origin::Built(built) => ImageOrigin::Built {
            base: parse(what, &built.base_uid)?,
            base_name: id_in("images/", &built.base)?,
            input: parse(what, &built.input_digest)?,
        },
        Origin::Containerfile(file) => ImageOrigin::Containerfile {
            manifest: parse(what, &file.manifest_digest)?,
            path: file.path.into(),
        },
        Origin::Bundle(bundle) => ImageOrigin::Bundle {
            sha256: parse(what, &bundle.digest)?,
            reference: bundle.reference,
        },
    })
}

pub(in crate::services) fn kernel(record: v1::Kernel) -> Result<Kernel, Failure> {
    let what = record.name.as_str();
    Ok(Kernel {
        name: id_in("kernels/", what)?,
        distribution: given(record.distribution),
        architecture: record.architecture,
        version: record.release,
        sha256: parse(what, &record.digest)?,
        origin: match parse(what, &record.source)? {
            KernelSource::Directory(path) => KernelOrigin::Directory(path),
            KernelSource::DebFile(path) => KernelOrigin::DebFile(path),
            KernelSource::AptPackage(package) => KernelOrigin::AptPackage(package),
            KernelSource::File(path) => KernelOrigin::File(path),
            KernelSource::Bundle(reference) => KernelOrigin::Bundle(reference),
            _ => return Err(Failure::confused(what, "its source is unknown")),
        },
        directory: record.directory.into(),
        boot: boot_files(record.boot_files),
        verdict: record.verdict.map(|one| verdict(what, one)).transpose()?,
        imported: present(time(what, record.create_time)?, what)?,
    })
}
