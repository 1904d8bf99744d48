//! VMs.

use std::collections::BTreeMap;

use banger_core::domain::{
    BackendKind, CommandEnd, GrantedLease, ImageId, ImageName, RootDiskMode, Vm, VmExit, VmProcess,
};
use serde::Serialize;

use super::{
    PortOutput, bound_ports, details, port_lines, table, time, timestamp,
    volume::{VmVolumeOutput, vm_volumes},
};

/// A VM, as JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VmOutput {
    id: String,
    name: String,
    image_id: String,
    state: &'static str,
    reason: String,
    cpus: u32,
    memory_bytes: u64,
    boot_mode: &'static str,
    root_disk: &'static str,
    disk_bytes: u64,
    wanted_backend: Option<&'static str>,
    backend: Option<BackendOutput>,
    network: &'static str,
    published_ports: Vec<PortOutput>,
    bound_ports: Vec<PortOutput>,
    remove_on_stop: bool,
    lease: Option<LeaseOutput>,
    labels: BTreeMap<String, String>,
    volumes: Vec<VmVolumeOutput>,
    process: ProcessOutput,
    boot_id: Option<String>,
    exit: Option<ExitOutput>,
    created: Option<String>,
    started: Option<String>,
    stopped: Option<String>,
    generation: u64,
}

/// What a VM runs by itself, where it differs from what its image says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct ProcessOutput {
    command: Vec<String>,
    env: Vec<String>,
    working_directory: Option<String>,
    user: Option<String>,
}

impl From<&VmProcess> for ProcessOutput {
    fn from(process: &VmProcess) -> Self {
        Self {
            command: process.argv.clone(),
            env: process.env.clone(),
            working_directory: process.working_directory.clone(),
            user: process.user.clone(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct BackendOutput {
    name: &'static str,
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct ExitOutput {
    kind: &'static str,
    detail: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct LeaseOutput {
    max_lifetime_seconds: Option<f64>,
    idle_timeout_seconds: Option<f64>,
    on_expiry: &'static str,
    granted: Option<String>,
}

impl From<&GrantedLease> for LeaseOutput {
    fn from(granted: &GrantedLease) -> Self {
        let lease = &granted.lease;
        Self {
            max_lifetime_seconds: lease.max_lifetime.map(|limit| limit.as_secs_f64()),
            idle_timeout_seconds: lease.idle_timeout.map(|limit| limit.as_secs_f64()),
            on_expiry: lease.on_expiry.as_str(),
            granted: timestamp(granted.granted.wall),
        }
    }
}

impl From<&Vm> for VmOutput {
    fn from(vm: &Vm) -> Self {
        let backend = vm.backend.as_ref().map(|backend| BackendOutput {
            name: backend.kind.as_str(),
            reason: backend.reason.clone(),
        });
        Self {
            id: vm.id.to_string(),
            name: vm.name.to_string(),
            image_id: vm.image.to_string(),
            state: vm.state.as_str(),
            reason: vm.reason.clone(),
            cpus: vm.spec.vcpus,
            memory_bytes: vm.spec.memory.get(),
            boot_mode: vm.spec.boot_mode.as_str(),
            root_disk: root_disk(vm.spec.root_disk),
            disk_bytes: vm.spec.disk_size.get(),
            wanted_backend: vm.spec.backend.map(BackendKind::as_str),
            backend,
            network: vm.spec.network.as_str(),
            published_ports: vm.spec.ports.iter().map(PortOutput::from).collect(),
            bound_ports: bound_ports(vm).iter().map(PortOutput::from).collect(),
            remove_on_stop: vm.spec.remove_on_stop,
            lease: vm.spec.lease.as_ref().map(LeaseOutput::from),
            labels: vm.spec.labels.clone(),
            volumes: vm.spec.volumes.iter().map(VmVolumeOutput::from).collect(),
            process: ProcessOutput::from(&vm.spec.process),
            boot_id: vm.boot_id.clone(),
            exit: vm.exit.as_ref().map(exit),
            created: timestamp(vm.created),
            started: vm.started.and_then(timestamp),
            stopped: vm.stopped.and_then(timestamp),
            generation: vm.generation,
        }
    }
}

const fn root_disk(mode: RootDiskMode) -> &'static str {
    match mode {
        RootDiskMode::Overlay => "overlay",
        RootDiskMode::Clone => "clone",
        _ => "other",
    }
}

pub(super) fn exit(exit: &VmExit) -> ExitOutput {
    let (kind, detail) = match exit {
        VmExit::PoweredOff => ("powered_off", None),
        VmExit::Forced => ("forced", None),
        VmExit::VmmDied(words) => ("vmm_died", Some(words.clone())),
        VmExit::NetworkLost(words) => ("network_lost", Some(words.clone())),
        VmExit::MonitorLost => ("monitor_lost", None),
        VmExit::Command(CommandEnd::Code(code)) => ("command_code", Some(code.to_string())),
        VmExit::Command(CommandEnd::Signal(signal)) => ("command_signal", Some(signal.to_string())),
        _ => ("other", None),
    };
    ExitOutput { kind, detail }
}

/// VMs for people; `images` has the names.
#[must_use]
pub fn vm_table(vms: &[Vm], images: &BTreeMap<ImageId, ImageName>) -> String {
    let row = |vm: &Vm| {
        vec![
            vm.name.to_string(),
            vm.id.short(),
            image_text(vm, images),
            vm.state.as_str().to_owned(),
            vm.spec.vcpus.to_string(),
            vm.spec.memory.to_string(),
            time(vm.created),
        ]
    };
    let head = ["NAME", "ID", "IMAGE", "STATE", "CPUS", "MEMORY", "CREATED"];
    table(&head, &vms.iter().map(row).collect::<Vec<_>>())
}

/// One VM for people.
#[must_use]
pub fn vm_details(vm: &Vm, images: &BTreeMap<ImageId, ImageName>) -> String {
    let labels: Vec<String> = vm
        .spec
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let backend = vm.backend.as_ref();
    let backend = backend.map(|choice| format!("{} ({})", choice.kind.as_str(), choice.reason));
    let optional_time = |at: Option<std::time::SystemTime>| at.map_or_else(|| "-".to_owned(), time);
    details(&[
        ("name", vm.name.to_string()),
        ("id", vm.id.to_string()),
        ("image", image_text(vm, images)),
        ("state", vm.state.as_str().to_owned()),
        ("reason", vm.reason.clone()),
        ("backend", backend.unwrap_or_else(|| "-".to_owned())),
        ("cpus", vm.spec.vcpus.to_string()),
        ("memory", vm.spec.memory.to_string()),
        ("boot mode", vm.spec.boot_mode.as_str().to_owned()),
        ("disk", vm.spec.disk_size.to_string()),
        ("network", vm.spec.network.as_str().to_owned()),
        ("ports", ports_text(vm)),
        ("remove on stop", vm.spec.remove_on_stop.to_string()),
        ("lease", lease_text(vm.spec.lease.as_ref())),
        ("labels", labels.join(", ")),
        ("volumes", vm_volumes(&vm.spec.volumes)),
        ("command", vm.spec.process.argv.join(" ")),
        (
            "exit",
            vm.exit.as_ref().map_or_else(|| "-".to_owned(), exit_text),
        ),
        ("created", time(vm.created)),
        ("started", optional_time(vm.started)),
        ("stopped", optional_time(vm.stopped)),
    ])
}

fn lease_text(granted: Option<&GrantedLease>) -> String {
    let Some(granted) = granted else {
        return "-".to_owned();
    };
    let lease = &granted.lease;
    let life = lease.max_lifetime.map(|limit| {
        let granted = time(granted.granted.wall);
        format!("{limit:?} from {granted}")
    });
    let idle = lease.idle_timeout.map(|limit| format!("{limit:?} idle"));
    let limits: Vec<String> = life.into_iter().chain(idle).collect();
    format!("{}, then {}", limits.join(" or "), lease.on_expiry.as_str())
}

/// What is bound, or else what is asked for.
fn ports_text(vm: &Vm) -> String {
    let bound = port_lines(bound_ports(vm));
    if bound.is_empty() {
        let asked: Vec<String> = vm.spec.ports.iter().map(ToString::to_string).collect();
        return asked.join(", ");
    }
    bound.trim_end().replace('\n', ", ")
}

fn exit_text(exit: &VmExit) -> String {
    match exit {
        VmExit::PoweredOff => "powered off".to_owned(),
        VmExit::Forced => "ended by force".to_owned(),
        VmExit::VmmDied(words) => format!("the VMM died: {words}"),
        VmExit::NetworkLost(words) => format!("the helper of its network ended: {words}"),
        VmExit::MonitorLost => "the monitor vanished".to_owned(),
        VmExit::Command(end) => format!("its command ended with {end}"),
        _ => "other".to_owned(),
    }
}

fn image_text(vm: &Vm, images: &BTreeMap<ImageId, ImageName>) -> String {
    let name = images.get(&vm.image);
    name.map_or_else(|| vm.image.short(), ToString::to_string)
}
