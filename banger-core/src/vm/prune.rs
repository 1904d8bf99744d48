//! Removing VMs that have ended.
//!
//! Invariants: what runs, is being restarted, or was never started, is never
//! removed: deleting without force sees to that once more, under each VM's lock. A crash leaves
//! whole VMs and at most one half removed, which the next command finishes.

use std::time::{Duration, SystemTime};

use super::{
    DeleteVmError, VmQueryError, delete::delete, lock::is_held, reconcile::observe,
    supervisor::Host,
};
use crate::domain::{Bytes, Selector, Vm, VmName, VmState};

/// Which of the VMs that stopped or failed are to go: those that meet all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PruneVms {
    /// Only those that ended at least so long ago.
    pub older_than: Option<Duration>,
    /// Only those with all of these labels.
    pub labels: Vec<LabelFilter>,
    /// Remove nothing, say what would go.
    pub dry_run: bool,
}

/// A label that a VM has to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelFilter {
    /// Its key.
    pub key: String,
    /// Its value; none is content with any.
    pub value: Option<String>,
}

/// What a prune removed, or would remove.
#[derive(Debug)]
pub struct PrunedVms {
    /// The VMs, by name.
    pub removed: Vec<Vm>,
    /// What their files took on the host's disk.
    pub freed: Bytes,
    /// Those that could not be removed, and why.
    pub failed: Vec<(VmName, DeleteVmError)>,
}

/// Removes VMs that have ended.
pub(super) async fn prune(host: &Host, request: PruneVms) -> Result<PrunedVms, VmQueryError> {
    let mut pruned = PrunedVms {
        removed: Vec::new(),
        freed: Bytes::new(0),
        failed: Vec::new(),
    };
    let now = host.options.clock.now();
    for record in host.store().vms().await.map_err(VmQueryError::Store)? {
        let observed = observe(host, record).await?;
        if let Some(vm) = observed.filter(|vm| is_wanted(vm, &request, now))
            // what cannot be asked is refused by name when it is deleted
            && !is_held(&host.files(vm.id).restart_lock()).unwrap_or(false)
        {
            remove(host, vm, request.dry_run, &mut pruned).await;
        }
    }
    Ok(pruned)
}

async fn remove(host: &Host, vm: Vm, dry_run: bool, pruned: &mut PrunedVms) {
    let size = host.files(vm.id).size_on_disk();
    if !dry_run {
        let id = Selector::from(vm.id.to_string().as_str());
        match delete(host, &id, false).await {
            Ok(_) => {}
            // somebody started it or removed it meanwhile
            Err(DeleteVmError::Running { .. } | DeleteVmError::Query(_)) => return,
            Err(error) => return pruned.failed.push((vm.name, error)),
        }
    }
    pruned.freed = Bytes::new(pruned.freed.get().saturating_add(size.get()));
    pruned.removed.push(vm);
}

/// Whether a VM has ended and meets the request.
fn is_wanted(vm: &Vm, request: &PruneVms, now: SystemTime) -> bool {
    matches!(vm.state, VmState::Stopped | VmState::Failed)
        && request.older_than.is_none_or(|age| has_age(vm, age, now))
        && request.labels.iter().all(|label| has_label(vm, label))
}

fn has_age(vm: &Vm, age: Duration, now: SystemTime) -> bool {
    let ended = vm.stopped.unwrap_or(vm.created);
    now.duration_since(ended).is_ok_and(|since| age <= since)
}

fn has_label(vm: &Vm, label: &LabelFilter) -> bool {
    let value = vm.spec.labels.get(&label.key);
    value.is_some_and(|value| label.value.as_ref().is_none_or(|wanted| wanted == value))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::{ImageId, VmId, VmSpec};

    fn vm(state: VmState) -> Vm {
        Vm {
            id: VmId::generate(),
            name: "v".parse().unwrap(),
            image: ImageId::generate(),
            spec: VmSpec {
                labels: BTreeMap::from([("team".to_owned(), "blue".to_owned())]),
                ..VmSpec::default()
            },
            state,
            reason: String::new(),
            backend: None,
            boot_id: None,
            ports: Vec::new(),
            exit: None,
            created: SystemTime::UNIX_EPOCH,
            started: None,
            stopped: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(100)),
            generation: 1,
        }
    }

    fn label(key: &str, value: Option<&str>) -> PruneVms {
        PruneVms {
            labels: vec![LabelFilter {
                key: key.to_owned(),
                value: value.map(str::to_owned),
            }],
            ..PruneVms::default()
        }
    }

    fn age(seconds: u64) -> PruneVms {
        PruneVms {
            older_than: Some(Duration::from_secs(seconds)),
            ..PruneVms::default()
        }
    }

    #[test]
    fn only_what_ended_and_meets_all_filters_goes() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(110);
        for state in VmState::ALL {
            let ended = matches!(state, VmState::Stopped | VmState::Failed);
            assert_eq!(is_wanted(&vm(state), &PruneVms::default(), now), ended);
        }
        let cases = [
            (age(10), true),
            (age(11), false),
            (label("team", None), true),
            (label("team", Some("blue")), true),
            (label("team", Some("red")), false),
            (label("other", None), false),
        ];
        for (request, expected) in cases {
            assert_eq!(
                is_wanted(&vm(VmState::Stopped), &request, now),
                expected,
                "{request:?}"
            );
        }
        // a clock that went back makes nothing old
        assert!(!is_wanted(
            &vm(VmState::Failed),
            &age(0),
            SystemTime::UNIX_EPOCH
        ));
    }
}
