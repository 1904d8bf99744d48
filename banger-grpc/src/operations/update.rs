//! Changes of what is asked of machines.
//!
//! Invariants: what a mask does not name is not touched; a change that was made by
//! a server that is gone is not made again.

use std::collections::{BTreeMap, BTreeSet};

use banger_api::v1::{self, ChangeEffect, ErrorReason, PhaseKind, PlannedChange, UpdateVmRequest};
use banger_core::{
    domain::{Bytes, Lease, Selector, Vm, VmState},
    vm::{CreateVm, SetVm},
};

use super::{
    artifacts::settled,
    machines::{Outcomes, gone, outcome, show},
    work::Context,
};
use crate::{
    capacity::{Amounts, Need},
    convert::{spec, vm::OWN_LABELS},
    fault::Fault,
    request::{Checks, name::VMS},
};

/// What can be different, as masks name it.
const VCPUS: &str = "spec.vcpus";
const MEMORY: &str = "spec.memory_bytes";
const DISK: &str = "spec.disk_bytes";
const LEASE: &str = "spec.lease";
const LABELS: &str = "spec.labels";

/// What is to be different.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Update {
    vcpus: Option<u32>,
    memory: Option<Bytes>,
    disk_size: Option<Bytes>,
    lease: WantedLease,
    labels: Option<BTreeMap<String, String>>,
}

/// What becomes of a lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum WantedLease {
    #[default]
    AsIs,
    None,
    Granted(Lease),
}

impl WantedLease {
    /// The lease, or none.
    fn of(lease: Option<Lease>) -> Self {
        lease.map_or(Self::None, Self::Granted)
    }
}

/// What a request is to change. Pure.
pub(crate) fn update_request(request: &UpdateVmRequest) -> Result<Update, Fault> {
    let mut checks = Checks::default();
    let vm = request.vm.clone().unwrap_or_default();
    VMS.id("vm.name", &vm.name, &mut checks);
    let asked = vm.spec.unwrap_or_default();
    let paths = request.update_mask.as_ref().map(|mask| &mask.paths);
    let paths = paths.map(Vec::as_slice).unwrap_or_default();
    if paths.is_empty() {
        checks.violated("update_mask", "names nothing");
    }
    let mut update = Update::default();
    for path in paths {
        update.take(path, &asked, &mut checks);
    }
    checks.finish()?;
    Ok(update)
}

impl Update {
    fn take(&mut self, path: &str, asked: &v1::VmSpec, checks: &mut Checks) {
        let mut given = |value: u64| {
            if value == 0 {
                checks.violated(&format!("vm.{path}"), "is not given");
            }
            Bytes::new(value)
        };
        match path {
            VCPUS => {
                given(asked.vcpus.into());
                self.vcpus = Some(asked.vcpus);
            }
            MEMORY => self.memory = Some(given(asked.memory_bytes)),
            DISK => self.disk_size = Some(given(asked.disk_bytes)),
            LEASE => {
                let lease = asked.lease.as_ref();
                let lease = lease.map(|one| spec::lease("vm.spec.lease", one, checks));
                self.lease = WantedLease::of(lease);
            }
            LABELS => {
                spec::check_labels("vm.spec.labels", &asked.labels, checks);
                self.labels = Some(asked.labels.clone());
            }
            path => checks.violated("update_mask", format!("{path:?} is nothing to change")),
        }
    }

    /// What the core is to change of this machine.
    fn set(&self, vm: &Vm) -> SetVm {
        let removed = self.labels.iter().flat_map(|labels| {
            let users = vm.spec.labels.keys();
            users.filter(|key| !key.starts_with(OWN_LABELS) && !labels.contains_key(*key))
        });
        let removed: BTreeSet<String> = removed.cloned().collect();
        SetVm {
            vcpus: self.vcpus,
            memory: self.memory,
            disk_size: self.disk_size,
            lease: match self.lease {
                WantedLease::AsIs => None,
                WantedLease::None => Some(None),
                WantedLease::Granted(lease) => Some(Some(lease)),
            },
            labels: self.labels.clone().unwrap_or_default(),
            removed_labels: removed,
            generation: None,
        }
    }

    /// The changes, each with whether the machine has it already.
    fn changes(&self, vm: &Vm) -> Vec<(&'static str, bool)> {
        let set = self.set(vm);
        let has = |(key, value): (&String, &String)| vm.spec.labels.get(key) == Some(value);
        let labels = set.removed_labels.is_empty() && set.labels.iter().all(has);
        let lease = vm.spec.lease.as_ref().map(|granted| granted.lease);
        let lease = WantedLease::of(lease);
        [
            self.vcpus.map(|vcpus| (VCPUS, vcpus == vm.spec.vcpus)),
            self.memory.map(|memory| (MEMORY, memory == vm.spec.memory)),
            self.disk_size.map(|size| (DISK, size == vm.spec.disk_size)),
            (self.lease != WantedLease::AsIs).then(|| (LEASE, self.lease == lease)),
            self.labels.as_ref().map(|_| (LABELS, labels)),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// The room that it takes beyond what the machine has; none if it takes none. CPUs
    /// and memory are taken by the next boot.
    pub(crate) fn need(&self, owner: &str, vm: &Vm) -> Option<Need> {
        let size = self.disk_size.unwrap_or(vm.spec.disk_size);
        let more = size.get().saturating_sub(vm.spec.disk_size.get());
        (more != 0).then(|| Need {
            owner: owner.to_owned(),
            amounts: Amounts {
                disk: more,
                ..Amounts::default()
            },
            starts: None,
        })
    }

    /// What it would do to a machine.
    pub(crate) fn plan(&self, vm: &Vm) -> Vec<PlannedChange> {
        let runs = matches!(
            vm.state,
            VmState::Starting | VmState::Running | VmState::Paused | VmState::Stopping
        );
        let change = |(path, is_so): (&'static str, bool)| {
            let effect = match path {
                // a lease begins anew
                LEASE if self.lease != WantedLease::None => ChangeEffect::Live,
                _ if is_so => ChangeEffect::None,
                VCPUS | MEMORY if runs => ChangeEffect::NextBoot,
                DISK if runs => ChangeEffect::NeedsStop,
                _ => ChangeEffect::Live,
            };
            PlannedChange {
                path: path.to_owned(),
                effect: effect.into(),
            }
        };
        self.changes(vm).into_iter().map(change).collect()
    }

    /// The machine as it would be, for the core to say what is wrong with it.
    pub(crate) fn would_be(&self, vm: &Vm) -> Result<CreateVm, Fault> {
        let disk = self.disk_size.unwrap_or(vm.spec.disk_size);
        if disk < vm.spec.disk_size {
            let mut checks = Checks::default();
            let problem = format!("it has {} and never shrinks", vm.spec.disk_size);
            checks.violated("vm.spec.disk_bytes", problem);
            checks.finish()?;
        }
        Ok(CreateVm {
            vcpus: self.vcpus.unwrap_or(vm.spec.vcpus),
            memory: self.memory.unwrap_or(vm.spec.memory),
            disk_size: disk,
            boot_mode: vm.spec.boot_mode,
            root_disk: vm.spec.root_disk,
            backend: vm.spec.backend,
            network: vm.spec.network,
            ..CreateVm::new(vm.image.into())
        })
    }
}

pub(super) async fn update(context: &Context, request: &UpdateVmRequest) -> Outcomes {
    let update = update_request(request)?;
    let name = request.vm.as_ref().map(|vm| vm.name.as_str());
    let id = settled(name.unwrap_or_default(), "vms/").unwrap_or_default();
    let Some(vm) = show(context, id).await? else {
        return Err(gone(id));
    };
    if context.is_resumed() && update.changes(&vm).iter().all(|(_, is_so)| *is_so) {
        return outcome(&vm);
    }
    Fault::unless_etag(&vm, &request.etag)?;
    let set = SetVm {
        generation: (!request.etag.is_empty()).then_some(vm.generation),
        ..update.set(&vm)
    };
    let selector = Selector::from(id);
    let changing = context.backend.vms.set(&selector, set);
    match context.phase(PhaseKind::Update, changing).await {
        Ok(vm) => outcome(&vm),
        Err(error) => {
            let fault = Fault::from(error);
            match (fault.reason(), show(context, id).await?) {
                // the etag that it has now is worth more
                (ErrorReason::VmChanged, Some(vm)) => {
                    Fault::unless_etag(&vm, &request.etag)?;
                    Err(fault)
                }
                _ => Err(fault),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use prost_types::FieldMask;

    use super::*;
    use crate::testing::vm;

    fn request(paths: &[&str]) -> UpdateVmRequest {
        let spec = v1::VmSpec {
            vcpus: 2,
            memory_bytes: 1 << 30,
            disk_bytes: 8 << 30,
            labels: [("a".to_owned(), "b".to_owned())].into(),
            ..v1::VmSpec::default()
        };
        UpdateVmRequest {
            vm: Some(v1::Vm {
                name: "vms/web".to_owned(),
                spec: Some(spec),
                ..v1::Vm::default()
            }),
            update_mask: Some(FieldMask {
                paths: paths.iter().map(|path| (*path).to_owned()).collect(),
            }),
            ..UpdateVmRequest::default()
        }
    }

    #[test]
    fn what_a_mask_does_not_name_is_not_touched() {
        let mut web = vm("web");
        let labels = [("old", "1"), ("banger.operation", "2"), ("a", "c")];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        web.spec.labels = labels.into();
        let set = update_request(&request(&[VCPUS])).unwrap().set(&web);
        let expected = SetVm {
            vcpus: Some(2),
            ..SetVm::default()
        };
        assert_eq!(set, expected);
        let set = update_request(&request(&[LABELS, LEASE]))
            .unwrap()
            .set(&web);
        let expected = SetVm {
            lease: Some(None),
            labels: [("a".to_owned(), "b".to_owned())].into(),
            removed_labels: ["old".to_owned()].into(),
            ..SetVm::default()
        };
        assert_eq!(set, expected);
    }

    #[test]
    fn a_plan_says_when_each_change_counts() {
        use ChangeEffect::{Live, NeedsStop, NextBoot, None as No};
        let all = [VCPUS, MEMORY, DISK, LABELS, LEASE];
        let mut request = request(&all);
        let asked = request.vm.as_mut().unwrap().spec.as_mut().unwrap();
        asked.lease = Some(v1::Lease {
            max_lifetime: Some(prost_types::Duration::default()),
            idle_timeout: Some(prost_types::Duration {
                seconds: 1,
                nanos: 0,
            }),
            ..v1::Lease::default()
        });
        assert!(update_request(&request).is_err(), "a life of no length");
        let asked = request.vm.as_mut().unwrap().spec.as_mut().unwrap();
        asked.lease.as_mut().unwrap().max_lifetime = None;
        let update = update_request(&request).unwrap();
        let mut web = vm("web");
        web.spec.vcpus = 2;
        let label = ("a".to_owned(), "b".to_owned());
        web.spec.labels = [label].into();
        // in the order of CPUs, memory, disk, lease and labels
        for (state, effects) in [
            (VmState::Stopped, [No, Live, Live, Live, No]),
            (VmState::Running, [No, NextBoot, NeedsStop, Live, No]),
        ] {
            web.state = state;
            let plan = update.plan(&web);
            let planned: Vec<_> = plan.iter().map(PlannedChange::effect).collect();
            assert_eq!(planned, effects, "{state:?}: {plan:?}");
        }
    }

    #[test]
    fn what_cannot_be_changed_is_named() {
        for paths in [&[][..], &["name"], &["spec.ports"], &["spec"], &["*"]] {
            let fault = update_request(&request(paths)).unwrap_err();
            assert_eq!(fault.reason(), ErrorReason::InvalidRequest);
            assert!(fault.message().starts_with("update_mask"), "{paths:?}");
        }
        let mut nothing = request(&[VCPUS, DISK]);
        nothing.vm = None;
        let fault = update_request(&nothing).unwrap_err();
        for field in ["vm.name", "vm.spec.vcpus", "vm.spec.disk_bytes"] {
            assert!(fault.message().contains(field), "{}", fault.message());
        }
    }
}
