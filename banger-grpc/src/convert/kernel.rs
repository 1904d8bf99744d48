//! Kernels.

use banger_api::v1;
use banger_core::domain::Kernel;

use super::{etag, timestamp};
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
    }
}
