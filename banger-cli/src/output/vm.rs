//! VMs.

use std::collections::BTreeMap;

use banger_core::domain::{BackendKind, ImageId, ImageName, RootDiskMode, Vm, VmExit};
use serde::Serialize;

use super::{details, table, time, timestamp};

/// A VM, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VmOutput {
    id: String,
    name: String,
    image_id: String,
    state: &'static str,
    reason: String,
    cpus: u32,
    memory_bytes: u64,
    root_disk: &'static str,
    disk_bytes: u64,
    wanted_backend: Option<&'static str>,
    backend: Option<BackendOutput>,
    remove_on_stop: bool,
    labels: BTreeMap<String, String>,
    boot_id: Option<String>,
    exit: Option<ExitOutput>,
    created: Option<String>,
    started: Option<String>,
    stopped: Option<String>,
    generation: u64,
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
            root_disk: root_disk(vm.spec.root_disk),
            disk_bytes: vm.spec.disk_size.get(),
            wanted_backend: vm.spec.backend.map(BackendKind::as_str),
            backend,
            remove_on_stop: vm.spec.remove_on_stop,
            labels: vm.spec.labels.clone(),
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
        VmExit::MonitorLost => ("monitor_lost", None),
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
        ("disk", vm.spec.disk_size.to_string()),
        ("remove on stop", vm.spec.remove_on_stop.to_string()),
        ("labels", labels.join(", ")),
        (
            "exit",
            vm.exit.as_ref().map_or_else(|| "-".to_owned(), exit_text),
        ),
        ("created", time(vm.created)),
        ("started", optional_time(vm.started)),
        ("stopped", optional_time(vm.stopped)),
    ])
}

fn exit_text(exit: &VmExit) -> String {
    match exit {
        VmExit::PoweredOff => "powered off".to_owned(),
        VmExit::Forced => "ended by force".to_owned(),
        VmExit::VmmDied(words) => format!("the VMM died: {words}"),
        VmExit::MonitorLost => "the monitor vanished".to_owned(),
        _ => "other".to_owned(),
    }
}

fn image_text(vm: &Vm, images: &BTreeMap<ImageId, ImageName>) -> String {
    let name = images.get(&vm.image);
    name.map_or_else(|| vm.image.short(), ToString::to_string)
}
