//! Virtual machines, as they are.

use banger_api::{
    choices,
    v1::{self, vm_exit::Kind},
};
use banger_core::domain::{CommandEnd, GrantedLease, Vm, VmChange, VmExit, VmSpec};
use prost_types::Timestamp;

use super::{duration, etag, timestamp, volume::vm_volume};
use crate::{
    request::name::{IMAGES, OPERATIONS, SESSIONS, VMS},
    sessions::SESSION_LABEL,
};

/// Labels that begin so are the server's own.
pub(crate) const OWN_LABELS: &str = "banger.";
/// The label with the id of the operation that made the machine.
pub(crate) const OPERATION_LABEL: &str = "banger.operation";

pub(crate) fn vm(vm: &Vm) -> v1::Vm {
    let operation = vm.spec.labels.get(OPERATION_LABEL);
    let session = vm.spec.labels.get(SESSION_LABEL);
    let backend = vm.backend.as_ref();
    v1::Vm {
        name: VMS.name(&vm.name),
        uid: vm.id.to_string(),
        etag: vm_etag(vm),
        create_operation: operation.map(|id| OPERATIONS.name(id)).unwrap_or_default(),
        create_time: timestamp(vm.created),
        start_time: vm.started.and_then(timestamp),
        stop_time: vm.stopped.and_then(timestamp),
        image: IMAGES.name(vm.image),
        spec: Some(spec(&vm.spec)),
        state: choices::state(vm.state).into(),
        state_message: vm.reason.clone(),
        backend: backend
            .map(|choice| choice.kind.as_str().to_owned())
            .unwrap_or_default(),
        backend_message: backend
            .map(|choice| choice.reason.clone())
            .unwrap_or_default(),
        bound_ports: vm.ports.iter().map(choices::port).collect(),
        exit: vm.exit.as_ref().map(exit),
        generation: vm.generation,
        expire_time: vm.spec.lease.as_ref().and_then(expiry),
        session: session.map(|id| SESSIONS.name(id)).unwrap_or_default(),
        boot_id: vm.boot_id.clone().unwrap_or_default(),
        lease_time: vm
            .spec
            .lease
            .as_ref()
            .and_then(|lease| timestamp(lease.granted.wall)),
    }
}

/// What tells two states of a machine's record apart.
pub(crate) fn vm_etag(vm: &Vm) -> String {
    etag(&[&vm.id, &vm.generation])
}

fn expiry(granted: &GrantedLease) -> Option<Timestamp> {
    let life = granted.lease.max_lifetime?;
    timestamp(granted.granted.wall.checked_add(life)?)
}

fn spec(spec: &VmSpec) -> v1::VmSpec {
    let own = |key: &str| key.starts_with(OWN_LABELS);
    let labels = spec.labels.iter().filter(|(key, _)| !own(key));
    v1::VmSpec {
        vcpus: spec.vcpus,
        memory_bytes: spec.memory.get(),
        disk_bytes: spec.disk_size.get(),
        root_disk: choices::root_disk(spec.root_disk).into(),
        boot_mode: choices::boot_mode(spec.boot_mode).into(),
        backend: spec
            .backend
            .map(|kind| kind.as_str().to_owned())
            .unwrap_or_default(),
        network: choices::network(spec.network).into(),
        ports: spec.ports.iter().map(choices::port).collect(),
        remove_on_stop: spec.remove_on_stop,
        lease: spec.lease.as_ref().map(|granted| v1::Lease {
            max_lifetime: granted.lease.max_lifetime.and_then(duration),
            idle_timeout: granted.lease.idle_timeout.and_then(duration),
            on_expiry: choices::on_expiry(granted.lease.on_expiry).into(),
        }),
        labels: labels
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
        command: spec.process.argv.clone(),
        env: spec.process.env.clone(),
        working_directory: spec.process.working_directory.clone().unwrap_or_default(),
        user: spec.process.user.clone().unwrap_or_default(),
        volumes: spec.volumes.iter().map(vm_volume).collect(),
    }
}

fn exit(exit: &VmExit) -> v1::VmExit {
    let kind = match exit {
        VmExit::PoweredOff => Some(Kind::PoweredOff(v1::PoweredOff {})),
        VmExit::Forced => Some(Kind::Forced(v1::Forced {})),
        VmExit::VmmDied(words) => Some(Kind::VmmDied(words.clone())),
        VmExit::NetworkLost(words) => Some(Kind::NetworkLost(words.clone())),
        VmExit::MonitorLost => Some(Kind::MonitorLost(v1::MonitorLost {})),
        VmExit::Command(CommandEnd::Code(code)) => Some(Kind::ExitCode((*code).into())),
        VmExit::Command(CommandEnd::Signal(signal)) => Some(Kind::Signal((*signal).into())),
        _ => None,
    };
    v1::VmExit { kind }
}

/// Something that happened to a machine.
pub(crate) fn change(change: &VmChange) -> v1::VmChange {
    v1::VmChange {
        kind: choices::change_kind(change.kind).into(),
        time: timestamp(change.at),
        vm: VMS.name(&change.name),
        uid: change.vm.to_string(),
        state: choices::state(change.state).into(),
        state_message: change.reason.clone(),
        exit: change.exit.as_ref().map(exit),
        generation: change.generation,
        sequence: change.sequence,
    }
}
