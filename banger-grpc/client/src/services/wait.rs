//! Waiting for the end of a server's machine.

use std::time::Duration;

use banger_api::v1::{ListVmChangesRequest, ListVmChangesResponse};
use banger_core::{
    domain::{Selector, Vm, VmChange, VmState},
    vm::{VmQueryError, WaitVmError, lifecycle::after_exit},
};
use tokio::time::{sleep, timeout};

use super::{Server, errors::FromServer as _, records};
use crate::Failure;

/// Between two looks at the record.
const PAUSE: Duration = Duration::from_millis(200);

impl Server {
    /// Waits until a machine is stopped or failed, as the trait says.
    pub(super) async fn wait(&self, vm: Vm, limit: Option<Duration>) -> Result<Vm, WaitVmError> {
        let name = vm.name.clone();
        let Some(limit) = limit else {
            return self.until_ended(vm).await;
        };
        let ended = timeout(limit, self.until_ended(vm)).await;
        ended.unwrap_or(Err(WaitVmError::TimedOut {
            name,
            waited: limit,
        }))
    }

    async fn until_ended(&self, mut vm: Vm) -> Result<Vm, WaitVmError> {
        let id = Selector::from(vm.id.to_string().as_str());
        while !matches!(vm.state, VmState::Stopped | VmState::Failed) {
            sleep(PAUSE).await;
            vm = match self.vm(&id).await {
                Ok(vm) => vm,
                Err(gone @ VmQueryError::NotFound { .. }) => {
                    let last = self.last_record(vm).await;
                    let last = last.map_err(VmQueryError::from_server)?;
                    return last.ok_or_else(|| gone.into());
                }
                Err(error) => return Err(error.into()),
            };
        }
        Ok(vm)
    }

    /// The last record of a machine that is gone; none when it did not end by itself.
    async fn last_record(&self, mut vm: Vm) -> Result<Option<Vm>, Failure> {
        let (mut last, mut after) = (None, None);
        loop {
            let page = self.changes_page(Some(vm.id.to_string()), after).await?;
            if let Some(change) = page.changes.into_iter().next_back() {
                last = Some(records::vm_change(change)?);
            }
            match page.next_sequence {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        let ended = last.and_then(|last: VmChange| Some((last.exit.clone()?, last)));
        let Some((exit, last)) = ended else {
            return Ok(None);
        };
        vm.state = after_exit(&exit);
        vm.reason = last.reason;
        vm.exit = Some(exit);
        vm.stopped = Some(last.at);
        vm.generation = last.generation;
        Ok(Some(vm))
    }

    /// What happened after a number, at most a page.
    pub(super) async fn changes_page(
        &self,
        vm: Option<String>,
        after_sequence: Option<u64>,
    ) -> Result<ListVmChangesResponse, Failure> {
        let request = ListVmChangesRequest {
            vm: vm.map(|vm| format!("vms/{vm}")).unwrap_or_default(),
            after_sequence,
        };
        let page = self.read(|| {
            let (request, mut events) = (request.clone(), self.client.events());
            async move { events.list_vm_changes(request).await }
        });
        page.await
    }
}
