//! banger on one host: the services over one state directory.
//!
//! Purpose: what an embedder or a front end opens. Invariants: opening repairs
//! what crashes left, so that the records are true afterwards.
//! Entry points: [`Local::open`].

use std::sync::Arc;

use camino::Utf8PathBuf;

use crate::{
    ErrorKind,
    catalog::{Supply, SupplyOptions},
    clock::{Clock, SystemClock},
    diagnostics::{Doctor, HostOptions, LocalDoctor},
    directories::Directories,
    image::{
        ImageManager, LocalImageManager, LocalImageOptions, ReconcileImagesError,
        build::{ImageBuilder, LocalImageBuilder},
    },
    kernel::{KernelResolver, LocalKernelResolver, ReconcileKernelsError},
    oci::{Platform, SourceOptions},
    rootfs::{Ext4RootfsBuilder, RootfsLimits},
    store::{Connections, Store, StoreError},
    vm::{LocalVmOptions, LocalVmSupervisor, MonitorProgram, ReconcileVmsError, VmSupervisor},
    vmm::VmmPrograms,
    volume::{LocalVolumeManager, ReconcileVolumesError, VolumeManager},
};

/// Everything the services need to know about their host.
#[derive(Clone, Debug)]
pub struct LocalOptions {
    /// Where files lie.
    pub directories: Directories,
    /// How the database is connected to.
    pub connections: Connections,
    /// The static program that becomes the guest's init.
    pub guest_program: Utf8PathBuf,
    /// The program that becomes a VM's monitor.
    pub monitor: MonitorProgram,
    /// The programs that run virtual machines.
    pub vmm: VmmPrograms,
    /// How registries are spoken to, and servers of bundles and catalogs.
    pub sources: SourceOptions,
    /// Bounds on what images' layers may claim.
    pub limits: RootfsLimits,
    /// Catalogs and the policy.
    pub supply: SupplyOptions,
}

/// The services, ready.
#[derive(Clone, Debug)]
pub struct Local {
    /// The records that all of them are over.
    pub store: Store,
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
}

/// The services could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Interrupted image operations could not be repaired.
    #[error(transparent)]
    Images(#[from] ReconcileImagesError),
    /// Interrupted kernel imports could not be repaired.
    #[error(transparent)]
    Kernels(#[from] ReconcileKernelsError),
    /// Interrupted VM operations could not be repaired.
    #[error(transparent)]
    Vms(#[from] ReconcileVmsError),
    /// Interrupted volume operations could not be repaired.
    #[error(transparent)]
    Volumes(#[from] ReconcileVolumesError),
}

impl OpenError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Store(error) => error.kind(),
            Self::Images(error) => error.kind(),
            Self::Kernels(error) => error.kind(),
            Self::Vms(error) => error.kind(),
            Self::Volumes(error) => error.kind(),
        }
    }
}

impl Local {
    /// Opens the database and repairs what crashes left. Cancelling leaves the
    /// rest of the repair to the next opening.
    pub async fn open(options: LocalOptions) -> Result<Self, OpenError> {
        let doctor = LocalDoctor::new(HostOptions::from(&options));
        let store = Store::open_with(&options.directories, options.connections).await?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let kernels = LocalKernelResolver::new(
            store.clone(),
            options.directories.clone(),
            Arc::clone(&clock),
        );
        let supply = Supply::new(
            options.sources.clone(),
            options.limits,
            options.supply.clone(),
        );
        let kernels = kernels.with_supply(supply.clone());
        kernels.reconcile().await?;
        let vms = vm_supervisor(&store, &clock, &options);
        vms.reconcile().await?;
        let directories = options.directories.clone();
        let volumes = LocalVolumeManager::new(store.clone(), directories, Arc::clone(&clock));
        volumes.reconcile().await?;
        let kernels = Arc::new(kernels);
        let images = image_manager(
            store.clone(),
            clock,
            Arc::clone(&kernels) as _,
            (options, supply),
        );
        images.reconcile().await?;
        let (images, vms) = (Arc::new(images), Arc::new(vms));
        let builder = LocalImageBuilder::new(Arc::clone(&images), Arc::clone(&vms) as _);
        Ok(Self {
            store,
            images,
            kernels,
            vms,
            builder: Arc::new(builder),
            volumes: Arc::new(volumes),
            doctor: Arc::new(doctor),
        })
    }
}

fn vm_supervisor(
    store: &Store,
    clock: &Arc<dyn Clock>,
    options: &LocalOptions,
) -> LocalVmSupervisor {
    LocalVmSupervisor::new(LocalVmOptions {
        store: store.clone(),
        directories: options.directories.clone(),
        clock: Arc::clone(clock),
        guest_program: options.guest_program.clone(),
        monitor: options.monitor.clone(),
        vmm: options.vmm.clone(),
    })
}

fn image_manager(
    store: Store,
    clock: Arc<dyn Clock>,
    kernels: Arc<dyn KernelResolver>,
    (options, supply): (LocalOptions, Supply),
) -> LocalImageManager {
    LocalImageManager::new(LocalImageOptions {
        store,
        directories: options.directories,
        kernels,
        sources: Arc::new(options.sources),
        rootfs: Arc::new(Ext4RootfsBuilder),
        clock,
        platform: Platform::host(),
        limits: options.limits,
        supply,
    })
}
