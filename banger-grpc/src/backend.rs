//! What the services stand on.
//!
//! Invariants: nothing is asked of the core before what crashes left is repaired:
//! until then there is no `Hub`. Entry points: [`Backend`], `Front`.

use std::sync::{Arc, OnceLock};

use banger_core::{
    clock::Clock, diagnostics::Doctor, image::ImageManager, kernel::KernelResolver, store::Store,
    vm::VmSupervisor, volume::VolumeManager,
};

use crate::{
    capacity::Budget, fault::Fault, operations::Operations, phase::Phases, services::watcher::News,
    uploads::Uploads,
};

/// The core, by its traits, and where operations are remembered.
#[derive(Clone, Debug)]
pub struct Backend {
    /// Images.
    pub images: Arc<dyn ImageManager>,
    /// Kernels.
    pub kernels: Arc<dyn KernelResolver>,
    /// Virtual machines.
    pub vms: Arc<dyn VmSupervisor>,
    /// Looks at the host.
    pub doctor: Arc<dyn Doctor>,
    /// Named volumes.
    pub volumes: Arc<dyn VolumeManager>,
    /// The records.
    pub store: Store,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Files of clients.
    pub uploads: Uploads,
    /// How much machines may take.
    pub budget: Budget,
}

/// The core, and the work that is done with it.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) backend: Backend,
    pub(crate) operations: Operations,
    pub(crate) news: News,
}

/// What handlers of every service hold.
#[derive(Clone, Debug)]
pub(crate) struct Front {
    pub(crate) phases: Phases,
    pub(crate) hub: Arc<OnceLock<Arc<Hub>>>,
}

impl Front {
    pub(crate) fn new(phases: Phases) -> Self {
        Self {
            phases,
            hub: Arc::default(),
        }
    }

    /// For what only reads.
    pub(crate) fn reading(&self) -> Result<&Arc<Hub>, Fault> {
        self.phases.check_started()?;
        self.hub.get().ok_or_else(Fault::starting)
    }

    /// For what changes something.
    pub(crate) fn changing(&self) -> Result<&Arc<Hub>, Fault> {
        self.phases.check_serving()?;
        self.hub.get().ok_or_else(Fault::starting)
    }
}
