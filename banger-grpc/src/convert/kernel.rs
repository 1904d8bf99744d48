//! Kernels.

use banger_api::v1;
use banger_core::domain::{Kernel, KernelOrigin};

use super::{
    etag,
    image::{boot_files, verdict},
    timestamp,
};
use crate::request::name::KERNELS;

pub(crate) fn kernel(kernel: &Kernel) -> v1::Kernel {
    v1::Kernel {
        name: KERNELS.name(&kernel.name),
        digest: kernel.sha256.to_string(),
        etag: etag(&[&kernel.sha256, &kernel.imported]),
        create_time: timestamp(kernel.imported),
        release: kernel.version.clone(),
        architecture: kernel.architecture.clone(),
        distribution: kernel.distribution.clone().unwrap_or_default(),
        has_modules: kernel.boot.modules.is_some(),
        has_initrd: kernel.boot.initrd.is_some(),
        source: source(&kernel.origin),
        directory: kernel.directory.to_string(),
        boot_files: Some(boot_files(&kernel.boot)),
        verdict: kernel.verdict.as_ref().map(verdict),
    }
}

fn source(origin: &KernelOrigin) -> String {
    match origin {
        KernelOrigin::Directory(path) => format!("dir:{path}"),
        KernelOrigin::DebFile(path) => format!("deb:{path}"),
        KernelOrigin::AptPackage(package) => format!("apt:{package}"),
        KernelOrigin::File(path) => path.to_string(),
        KernelOrigin::Bundle(reference) => reference.to_string(),
        _ => String::new(),
    }
}
