//! Requests about root disks.

use banger_core::{
    domain::Bytes,
    oci::Platform,
    rootfs::{BuildRequest, RootfsLimits, RootfsResources},
};
use camino::Utf8Path;

use super::image::reference;
use crate::{args::BuildRootfsArgs, error::CliError};

/// Least memory that decoders and their buffers work with.
const LEAST_MEMORY: Bytes = Bytes::from_mib(16);

pub(super) fn build(args: BuildRootfsArgs, directory: &Utf8Path) -> Result<BuildRequest, CliError> {
    let usual = RootfsResources::default();
    let memory = args.memory.unwrap_or(usual.memory);
    if memory < LEAST_MEMORY {
        let message = format!("memory {memory} is too little: give at least {LEAST_MEMORY}");
        return Err(CliError::usage(message));
    }
    Ok(BuildRequest {
        reference: reference(&args.reference, directory)?,
        platform: Platform::host(),
        output: directory.join(args.output),
        size: args.size,
        journal: !args.no_journal,
        resources: RootfsResources {
            memory,
            decoders: args.threads.map_or(usual.decoders, usize::from),
        },
        limits: RootfsLimits::default(),
    })
}
