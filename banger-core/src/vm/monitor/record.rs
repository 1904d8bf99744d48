//! The VM's record while its monitor lives: every change goes through
//! [`step`].

use std::sync::Arc;

use crate::{
    clock::Clock,
    domain::{BackendChoice, PublishedPort, Vm, VmExit, VmId},
    store::{Store, StoreError},
    vm::{
        in_words,
        lifecycle::{IllegalTransition, VmEvent, step},
    },
    vmm::JailIds,
};

/// The record of the VM that this process owns.
#[derive(Debug)]
pub(super) struct Record {
    store: Store,
    clock: Arc<dyn Clock>,
    vm: Vm,
    /// Whether changes wait until they are on disk.
    waits_for_disk: bool,
}

/// The record could not be changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordError {
    #[error("its record is gone")]
    Gone,
    #[error(transparent)]
    Transition(#[from] IllegalTransition),
    #[error(transparent)]
    Store(StoreError),
}

impl Record {
    pub(super) async fn read(
        store: Store,
        clock: Arc<dyn Clock>,
        id: VmId,
    ) -> Result<Self, RecordError> {
        let vm = store.vm(id).await.map_err(RecordError::Store)?;
        let vm = vm.ok_or(RecordError::Gone)?;
        Ok(Self {
            store,
            clock,
            vm,
            waits_for_disk: true,
        })
    }

    pub(super) const fn vm(&self) -> &Vm {
        &self.vm
    }

    /// Reserves a user for the VMM's jail until the record says that the VMM is
    /// gone; none when all are taken.
    pub(super) async fn reserve_jail_id(&self, ids: JailIds) -> Result<Option<u32>, RecordError> {
        let range = (ids.first(), ids.last());
        let reserved = self
            .store
            .reserve_jail_id(self.vm.id, range, self.vm.id.tail());
        reserved.await.map_err(RecordError::Store)
    }

    /// A boot begins.
    pub(super) async fn starting(&mut self, backend: BackendChoice) -> Result<(), RecordError> {
        let now = self.clock.now();
        self.apply(&VmEvent::StartRequested, "it boots".to_owned(), |vm| {
            vm.backend = Some(backend);
            vm.boot_id = None;
            vm.exit = None;
            vm.started = Some(now);
            vm.stopped = None;
        })
        .await
    }

    /// It is up, and these ports are bound; a guest with an agent told its boot id.
    pub(super) async fn running(
        &mut self,
        boot_id: Option<String>,
        ports: Vec<PublishedPort>,
        reason: String,
    ) -> Result<(), RecordError> {
        self.apply(&VmEvent::CameUp, reason, |vm| {
            vm.boot_id = boot_id;
            vm.ports = ports;
        })
        .await
    }

    /// Its CPUs stand still.
    pub(super) async fn paused(&mut self, reason: &str) -> Result<(), RecordError> {
        self.apply(&VmEvent::Paused, reason.to_owned(), |_| ())
            .await
    }

    /// Its CPUs go on.
    pub(super) async fn resumed(&mut self, reason: &str) -> Result<(), RecordError> {
        self.apply(&VmEvent::Resumed, reason.to_owned(), |_| ())
            .await
    }

    /// What is asked of the VM as it is now; anybody may change that.
    pub(super) async fn refresh_spec(&mut self) -> Result<(), RecordError> {
        let stored = self
            .store
            .vm(self.vm.id)
            .await
            .map_err(RecordError::Store)?;
        self.vm = stored.ok_or(RecordError::Gone)?;
        Ok(())
    }

    /// Another way to end the machine is tried.
    pub(super) async fn stopping(&mut self, reason: String) -> Result<(), RecordError> {
        self.apply(&VmEvent::StopRequested, reason, |_| ()).await
    }

    /// The machine is gone.
    pub(super) async fn ended(&mut self, exit: VmExit, reason: String) -> Result<(), RecordError> {
        let event = VmEvent::Ended(exit.clone());
        self.end(&event, exit, reason).await
    }

    /// The machine is gone without having come up.
    pub(super) async fn boot_failed(
        &mut self,
        exit: VmExit,
        reason: String,
    ) -> Result<(), RecordError> {
        self.end(&VmEvent::BootFailed, exit, reason).await
    }

    /// The VM is about to be removed.
    pub(super) async fn deleting(&mut self) -> Result<(), RecordError> {
        let reason = "it is removed because it stopped".to_owned();
        self.apply(&VmEvent::DeleteRequested, reason, |_| ()).await
    }

    /// The VM's files are removed.
    pub(super) async fn delete(&self) -> Result<(), RecordError> {
        let deleted = self.store.delete_vm(self.vm.id).await;
        deleted.map(drop).map_err(RecordError::Store)
    }

    async fn end(
        &mut self,
        event: &VmEvent,
        exit: VmExit,
        reason: String,
    ) -> Result<(), RecordError> {
        let now = self.clock.now();
        self.apply(event, reason, |vm| {
            vm.exit = Some(exit);
            vm.stopped = Some(now);
        })
        .await
    }

    async fn apply(
        &mut self,
        event: &VmEvent,
        reason: String,
        change: impl FnOnce(&mut Vm),
    ) -> Result<(), RecordError> {
        let mut vm = self.vm.clone();
        vm.state = step(vm.state, event)?;
        vm.reason = reason;
        change(&mut vm);
        self.wait_for_disk(!is_lost_with_power(event)).await?;
        let updated = self.store.update_vm(&vm).await;
        self.vm = updated.map_err(RecordError::Store)?;
        Ok(())
    }

    async fn wait_for_disk(&mut self, wait: bool) -> Result<(), RecordError> {
        if self.waits_for_disk != wait {
            let set = self.store.wait_for_disk(wait).await;
            set.map_err(RecordError::Store)?;
            self.waits_for_disk = wait;
        }
        Ok(())
    }
}

/// Whether what an event tells is over as soon as the host has no power: of a
/// record that is lost as well, nothing wrong is read.
const fn is_lost_with_power(event: &VmEvent) -> bool {
    matches!(event, VmEvent::StartRequested | VmEvent::CameUp)
}

/// A machine is brought down whether or not its record can be written.
pub(super) fn warn_of(result: Result<(), RecordError>) {
    if let Err(error) = result {
        let error = in_words(&error);
        tracing::error!(error, "the VM's record could not be changed");
    }
}
