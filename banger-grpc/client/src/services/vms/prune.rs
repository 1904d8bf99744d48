//! Removing a server's machines that have ended.

use std::time::SystemTime;

use banger_core::{
    clock::{Clock as _, SystemClock},
    domain::{Bytes, Vm, VmState},
    vm::{DeleteVmError, PruneVms, PrunedVms, VmQueryError},
};

use crate::services::Server;

impl Server {
    pub(super) async fn prune(&self, request: PruneVms) -> Result<PrunedVms, VmQueryError> {
        let mut pruned = PrunedVms {
            removed: Vec::new(),
            freed: Bytes::new(0),
            failed: Vec::new(),
        };
        let now = SystemClock.now();
        let all = self.vms().await?;
        for vm in all.into_iter().filter(|vm| is_wanted(vm, &request, now)) {
            // one that is gone meanwhile takes nothing
            let size = self.costs(&vm).await.map_or(0, |stats| stats.disk.get());
            if !request.dry_run {
                match self.remove(&vm, false).await {
                    Ok(_) => {}
                    // somebody started it or removed it meanwhile
                    Err(DeleteVmError::Running { .. } | DeleteVmError::Query(_)) => continue,
                    Err(error) => {
                        pruned.failed.push((vm.name, error));
                        continue;
                    }
                }
            }
            pruned.freed = Bytes::new(pruned.freed.get().saturating_add(size));
            pruned.removed.push(vm);
        }
        Ok(pruned)
    }
}

/// Whether a VM has ended and meets the request.
fn is_wanted(vm: &Vm, request: &PruneVms, now: SystemTime) -> bool {
    let ended = vm.stopped.unwrap_or(vm.created);
    let is_old = request
        .older_than
        .is_none_or(|age| now.duration_since(ended).is_ok_and(|since| age <= since));
    let has = |label: &banger_core::vm::LabelFilter| {
        let value = vm.spec.labels.get(&label.key);
        value.is_some_and(|value| label.value.as_ref().is_none_or(|wanted| wanted == value))
    };
    matches!(vm.state, VmState::Stopped | VmState::Failed)
        && is_old
        && request.labels.iter().all(has)
}
