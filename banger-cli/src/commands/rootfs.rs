//! `banger rootfs build`.

use std::{sync::Arc, time::Instant};

use banger_core::{
    oci::ImageSources,
    rootfs::{BuildRequest, Ext4RootfsBuilder, build_from_source},
};

use crate::{
    console::Console,
    context::{self, Style},
    error::CliError,
    exit,
    output::{RootfsOutput, rootfs_details},
    progress::Progress,
};

/// Builds a disk, which needs no services.
pub async fn build_rootfs(
    sources: &dyn ImageSources,
    request: BuildRequest,
    progress: &Progress,
    console: &Console,
    style: Style,
) -> Result<u8, CliError> {
    let started = Instant::now();
    let wanted = request.clone();
    let built = build_from_source(sources, Arc::new(Ext4RootfsBuilder), request, progress).await;
    progress.finish();
    let output = RootfsOutput::new(&wanted, &built?, started.elapsed());
    context::print(console, style, &output, || rootfs_details(&output)).await?;
    Ok(exit::SUCCESS)
}
