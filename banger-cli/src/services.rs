//! The services the commands work on.
//!
//! Purpose: the one place that knows which implementation of the library's
//! traits is used. Entry points: [`Services`], [`Services::open_local`].

use std::sync::Arc;

use banger_core::{
    image::ImageManager,
    kernel::KernelResolver,
    local::{Local, LocalOptions},
    oci::SourceOptions,
    vm::{MonitorProgram, VmSupervisor},
    vmm::VmmPrograms,
};

use crate::{error::CliError, monitor, settings::Settings};

/// What commands are written against.
#[derive(Clone, Debug)]
pub struct Services {
    /// Images.
    pub images: Arc<dyn ImageManager>,
    /// Kernels.
    pub kernels: Arc<dyn KernelResolver>,
    /// Virtual machines.
    pub vms: Arc<dyn VmSupervisor>,
}

impl Services {
    /// Opens banger on this host: the database is made or brought up to date,
    /// and what crashes left is repaired.
    pub async fn open_local(settings: Settings) -> Result<Self, CliError> {
        let local = Local::open(local_options(settings)).await?;
        Ok(Self {
            images: local.images,
            kernels: local.kernels,
            vms: local.vms,
        })
    }
}

fn local_options(settings: Settings) -> LocalOptions {
    LocalOptions {
        guest_program: settings.guest_program.path(),
        monitor: MonitorProgram {
            program: settings.executable,
            arguments: vec![monitor::VERB.to_owned()],
        },
        vmm: VmmPrograms {
            qemu: settings.qemu,
        },
        sources: SourceOptions {
            plain_http: settings.plain_http,
            ..SourceOptions::new(settings.directories.clone())
        },
        directories: settings.directories,
    }
}
