//! How much room work needs.

use banger_core::{
    domain::{Bytes, Image, Operation, Selector, Vm, VmSpec, VmState},
    image::build::{BuildImageRequest, GROWTH},
    vm::CreateVm,
    volume::CreateVolume,
};

use super::{
    artifacts::settled, build::build_request, machines::create_request, volumes::volume_request,
    work::Work,
};
use crate::{
    backend::Backend,
    capacity::{Amounts, Need},
};

/// That of making a machine, and perhaps running it.
pub(crate) fn of_create(owner: &str, create: &CreateVm, start: bool) -> Need {
    let runs = u64::from(start);
    Need {
        owner: owner.to_owned(),
        amounts: Amounts {
            vms: 1,
            vcpus: runs * u64::from(create.vcpus),
            memory: runs * create.memory.get(),
            disk: create.disk_size.get(),
        },
        starts: None,
    }
}

/// That of running a machine that is there; none when it runs.
pub(crate) fn of_start(owner: &str, vm: &Vm) -> Option<Need> {
    let runs = matches!(
        vm.state,
        VmState::Starting | VmState::Running | VmState::Paused
    );
    (!runs).then(|| Need {
        owner: owner.to_owned(),
        amounts: running(&vm.spec),
        starts: Some(vm.id.to_string()),
    })
}

/// That of a machine that goes on from what was kept of one.
pub(crate) fn of_kept(owner: &str, vm: &Vm) -> Need {
    Need {
        owner: owner.to_owned(),
        amounts: Amounts {
            vms: 1,
            disk: vm.spec.disk_size.get(),
            ..running(&vm.spec)
        },
        starts: None,
    }
}

/// That of the machine in which an image is built.
pub(crate) fn of_build(owner: &str, build: &BuildImageRequest, base: &Image) -> Need {
    let usual = base.sizes.apparent.get().saturating_add(GROWTH.get());
    Need {
        owner: owner.to_owned(),
        amounts: Amounts {
            vms: 1,
            vcpus: build.machine.vcpus.into(),
            memory: build.machine.memory.get(),
            disk: build.size.map_or(usual, Bytes::get),
        },
        starts: None,
    }
}

/// That of making a volume.
pub(crate) fn of_volume(owner: &str, create: &CreateVolume) -> Need {
    Need {
        owner: owner.to_owned(),
        amounts: Amounts {
            disk: create.size.get(),
            ..Amounts::default()
        },
        starts: None,
    }
}

fn running(spec: &VmSpec) -> Amounts {
    Amounts {
        vcpus: spec.vcpus.into(),
        memory: spec.memory.get(),
        ..Amounts::default()
    }
}

/// That of an operation that a server began which is gone. What cannot be found out
/// needs none: the operation will fail.
pub(super) async fn of_operation(backend: &Backend, operation: &Operation) -> Option<Need> {
    let callers = backend.store.callers_of_operation(operation.id).await;
    // nobody shares what needs room
    let owner = callers.ok()?.into_iter().next()?;
    match Work::of(operation).ok()? {
        Work::CreateVm(request) => {
            let create = create_request(&request).ok()?;
            Some(of_create(&owner, &create, request.start))
        }
        Work::StartVm(request) => {
            let id = Selector::from(settled(&request.name, "vms/")?);
            of_start(&owner, &backend.vms.show(&id).await.ok()?)
        }
        Work::RestoreVm(request) => {
            let id = Selector::from(settled(&request.snapshot, "snapshots/")?);
            let snapshot = backend.vms.show_snapshot(&id).await.ok()?;
            Some(of_kept(&owner, &snapshot.vm))
        }
        Work::BuildImage(request) => {
            let id = Selector::from(settled(&request.base, "images/")?);
            let base = backend.images.show(&id).await.ok()?;
            Some(of_build(&owner, &build_request(&request).ok()?, &base))
        }
        Work::CreateVolume(request) => Some(of_volume(&owner, &volume_request(&request).ok()?)),
        _ => None,
    }
}
