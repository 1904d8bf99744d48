//! What the services stand on.
//!
//! Invariants: nothing is asked of the core before what crashes left is repaired:
//! until then there is no `Hub`. Entry points: [`Backend`], `Front`.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use banger_core::{
    clock::Clock,
    diagnostics::Doctor,
    image::{ImageManager, build::ImageBuilder},
    kernel::KernelResolver,
    store::Store,
    vm::VmSupervisor,
    volume::VolumeManager,
};
use tokio::time::timeout;
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

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
    /// Builds images.
    pub builder: Arc<dyn ImageBuilder>,
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
    /// Counts the calls that change something and are no operations.
    acting: TaskTracker,
}

impl Front {
    pub(crate) fn new(phases: Phases) -> Self {
        Self {
            phases,
            hub: Arc::default(),
            acting: TaskTracker::new(),
        }
    }

    /// For what only reads.
    pub(crate) fn reading(&self) -> Result<&Arc<Hub>, Fault> {
        self.phases.check_started()?;
        self.hub.get().ok_or_else(Fault::starting)
    }

    /// For what changes something by an operation, which is counted as such, or may be
    /// cut anywhere and goes on with the next server.
    pub(crate) fn changing(&self) -> Result<&Arc<Hub>, Fault> {
        self.phases.check_serving()?;
        self.hub.get().ok_or_else(Fault::starting)
    }

    /// For what changes something and is no operation: it counts as at work for as long
    /// as what comes with the hub lives.
    pub(crate) fn acting(&self) -> Result<(&Arc<Hub>, TaskTrackerToken), Fault> {
        // counted before the phase is looked at: whoever drains after that waits for it
        let counted = self.acting.token();
        Ok((self.changing()?, counted))
    }

    /// Waits until no such call is at work, and answers how many still are when the time
    /// is up. The server drains: none is let in any more.
    pub(crate) async fn acted(&self, limit: Duration) -> usize {
        self.acting.close();
        drop(timeout(limit, self.acting.wait()).await);
        self.acting.len()
    }
}
