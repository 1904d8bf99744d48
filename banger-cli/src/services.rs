//! The services the commands work on.
//!
//! Purpose: the one place that knows which implementation of the library's
//! traits is used. Entry points: [`Services`], [`Services::open_local`],
//! [`Services::open_remote`].

use std::{fs::File, io, os::fd::AsFd as _, sync::Arc};

use banger_client::services::{Host, RemoteServices};
use banger_core::{
    diagnostics::{Doctor, HostOptions, LocalDoctor},
    image::{ImageManager, build::ImageBuilder},
    kernel::KernelResolver,
    local::{Local, LocalOptions},
    oci::{ImageSources, SourceOptions},
    store::{Connections, Store},
    vm::{MonitorProgram, VmSupervisor},
    vmm::VmmPrograms,
    volume::VolumeManager,
};

use crate::{endpoint::Endpoint, error::CliError, monitor, settings::Settings};

/// What commands are written against.
#[derive(Clone, Debug)]
pub struct Services {
    /// Where images come from.
    pub sources: Arc<dyn ImageSources>,
    /// Images.
    pub images: Arc<dyn ImageManager>,
    /// Kernels.
    pub kernels: Arc<dyn KernelResolver>,
    /// Virtual machines.
    pub vms: Arc<dyn VmSupervisor>,
    /// Builds images.
    pub builder: Arc<dyn ImageBuilder>,
    /// Named volumes.
    pub volumes: Arc<dyn VolumeManager>,
    /// Looks at the host.
    pub doctor: Arc<dyn Doctor>,
    /// The service that all of these are of; none when they are this host's.
    pub remote: Option<RemoteServices>,
}

impl Services {
    /// Opens banger on this host: the database is made or brought up to date,
    /// and what crashes left is repaired.
    pub async fn open_local(
        settings: Settings,
        connections: Connections,
    ) -> Result<Self, CliError> {
        let (services, _) = Self::open_with_store(settings, connections).await?;
        Ok(services)
    }

    /// The same, and the records that they are over.
    pub async fn open_with_store(
        settings: Settings,
        connections: Connections,
    ) -> Result<(Self, Store), CliError> {
        let sources = Arc::new(source_options(&settings));
        let local = Local::open(local_options(settings, connections)).await?;
        let services = Self {
            sources,
            images: local.images,
            kernels: local.kernels,
            vms: local.vms,
            builder: local.builder,
            volumes: local.volumes,
            doctor: local.doctor,
            remote: None,
        };
        Ok((services, local.store))
    }

    /// Those of a service, which answers.
    pub async fn open_remote(settings: &Settings, endpoint: &Endpoint) -> Result<Self, CliError> {
        let host = Host {
            standard_input: standard_input(),
            directories: Some(settings.directories.clone()),
        };
        let remote = RemoteServices::on(endpoint.client().await?, host);
        Ok(Self {
            sources: Arc::new(source_options(settings)),
            images: Arc::clone(&remote.images),
            kernels: Arc::clone(&remote.kernels),
            vms: Arc::clone(&remote.vms),
            builder: Arc::clone(&remote.builder),
            volumes: Arc::clone(&remote.volumes),
            doctor: Arc::clone(&remote.doctor),
            remote: Some(remote),
        })
    }

    /// Waits until a service was told of all that was given up.
    pub async fn settle(&self) {
        if let Some(remote) = &self.remote {
            remote.settle().await;
        }
    }
}

fn local_options(settings: Settings, connections: Connections) -> LocalOptions {
    LocalOptions {
        guest_program: settings.guest_program.path(),
        monitor: MonitorProgram {
            program: settings.executable.clone(),
            arguments: vec![monitor::VERB.to_owned()],
        },
        sources: source_options(&settings),
        vmm: VmmPrograms {
            qemu: settings.qemu,
            firecracker: settings.firecracker,
            slirp4netns: settings.slirp4netns,
            jail: settings.jail,
        },
        limits: settings.limits,
        supply: settings.supply,
        connections,
        directories: settings.directories,
    }
}

/// What looks at this host, whatever state it is in.
#[must_use]
pub fn local_doctor(settings: Settings) -> LocalDoctor {
    let options = local_options(settings, Connections::Shared);
    LocalDoctor::new(HostOptions::from(&options))
}

/// What `rootfs-tar:-` means.
fn standard_input() -> Option<Arc<File>> {
    let owned = io::stdin().as_fd().try_clone_to_owned();
    owned.ok().map(|owned| Arc::new(File::from(owned)))
}

/// How image sources are read.
#[must_use]
pub fn source_options(settings: &Settings) -> SourceOptions {
    let mut options = SourceOptions::new(settings.directories.clone());
    options.registries = settings.registries.clone();
    options.standard_input = standard_input();
    options
}
