//! What is there that no record names.

use std::{collections::BTreeSet, fs, net::TcpListener};

use banger_core::{
    directories::Directories,
    domain::{Snapshot, Vm, VmState},
};
use camino::Utf8Path;
use rustix::fs::{FlockOperation, flock};

use super::{
    ground::{Ground, VOLUME},
    order::{known_namespaces, victims},
    processes::{self, Role},
};

/// The files that a VM's directory may have.
const FILES: [&str; 8] = [
    "root.ext4",
    "volume-1.ext4",
    "launch.json",
    "monitor.log",
    "console.log",
    "console.times",
    "creator.lock",
    "restart.lock",
];

/// The files of a snapshot.
const KEPT: [&str; 5] = [
    "machine.json",
    "firecracker.state",
    "firecracker.memory",
    "root.ext4",
    "volume-1.ext4",
];

/// What disagrees with the records: of one VM, or of none.
pub(crate) fn leftovers(ground: &Ground, records: &[Vm], snapshots: &[Snapshot]) -> Vec<String> {
    let root = ground.root();
    let vm = match records {
        [] => None,
        [vm] => Some(vm),
        several => return vec![format!("{} VMs", several.len())],
    };
    let runs = match vm.map(|vm| vm.state) {
        Some(VmState::Running) => true,
        Some(VmState::Created | VmState::Stopped | VmState::Failed) | None => false,
        Some(state) => return vec![format!("a VM that is {}", state.as_str())],
    };
    // a signal takes its time: what it ends is no part of a VM that runs. It is looked
    // for first: what ends between the two looks would be missed by both
    let victims = victims(&root);
    let dying = victims.iter().filter(|id| processes::is_ending(**id));
    let mut found: Vec<_> = dying
        .map(|id| format!("process {id} was killed and lives"))
        .collect();
    found.extend(processes_of(&root, runs));
    found.extend(files(&ground.host.directories, vm, runs));
    found.extend(kept_files(&ground.host.directories, snapshots));
    found.extend(locks(&ground.host.directories, vm, runs));
    found.extend(kernel_objects(&root, runs));
    found.extend(port(&root, runs));
    found
}

fn processes_of(root: &Utf8Path, runs: bool) -> Vec<String> {
    let living = processes::of(root);
    let mut roles: Vec<_> = living.iter().map(|living| living.role).collect();
    roles.sort();
    let expected: &[Role] = if runs {
        match Ground::jails(root) {
            None => &[Role::Monitor, Role::Vmm, Role::Helper],
            Some(_) => &[Role::Monitor, Role::Vmm, Role::Helper, Role::Keeper],
        }
    } else {
        &[]
    };
    if roles == expected {
        return Vec::new();
    }
    let told = living
        .iter()
        .map(|it| format!("process {} {} ({})", it.id, it.role, it.command_line.trim()));
    let mut told: Vec<_> = told.collect();
    if runs {
        told.insert(0, format!("a running VM has {roles:?}"));
    }
    told
}

fn files(directories: &Directories, vm: Option<&Vm>, runs: bool) -> Vec<String> {
    let ids = vm.map(|vm| vm.id);
    let mut found = beside(&directories.vms(), ids.map(|id| id.to_string()).as_slice());
    if let Some(id) = ids {
        found.extend(beside(&directories.vm(id), &FILES));
    }
    let runtimes: Vec<_> = ids
        .filter(|_| runs)
        .map(|id| id.short())
        .into_iter()
        .collect();
    found.extend(beside(&directories.runtime, &runtimes));
    found.extend(beside(&directories.volumes(), &[VOLUME]));
    found.extend(beside(
        &directories.volume(&VOLUME.parse().unwrap()),
        &["disk.ext4"],
    ));
    if let Some(vm) = vm {
        let whole = ["root.ext4", "volume-1.ext4"];
        let missing = |name: &&&str| !directories.vm(vm.id).join(name).is_file();
        found.extend(
            whole
                .iter()
                .filter(missing)
                .map(|name| format!("no {name}")),
        );
    }
    found
}

/// What is kept lies there whole, and nothing else does.
fn kept_files(directories: &Directories, snapshots: &[Snapshot]) -> Vec<String> {
    let ids: Vec<_> = snapshots.iter().map(|kept| kept.id.to_string()).collect();
    let mut found = beside(&directories.snapshots(), &ids);
    for kept in snapshots {
        let directory = directories.snapshot(kept.id);
        found.extend(beside(&directory, &KEPT));
        let missing = KEPT.iter().filter(|name| !directory.join(name).is_file());
        found.extend(missing.map(|name| format!("no {name} is kept")));
    }
    found
}

/// What lies in a directory beside what may.
fn beside(directory: &Utf8Path, allowed: &[impl AsRef<str>]) -> Vec<String> {
    let names = directory.read_dir_utf8().into_iter().flatten().flatten();
    let names: BTreeSet<_> = names.map(|entry| entry.file_name().to_owned()).collect();
    let others = names
        .iter()
        .filter(|name| allowed.iter().all(|it| it.as_ref() != *name));
    others
        .map(|name| format!("file {}", directory.join(name)))
        .collect()
}

fn locks(directories: &Directories, vm: Option<&Vm>, runs: bool) -> Vec<String> {
    let mut found = Vec::new();
    let mut expect = |path: &Utf8Path, held: bool| {
        if is_locked(path) != held {
            let problem = if held { "not locked" } else { "locked" };
            found.push(format!("{path} is {problem}"));
        }
    };
    for entry in directories
        .locks()
        .read_dir_utf8()
        .into_iter()
        .flatten()
        .flatten()
    {
        expect(entry.path(), false);
    }
    // several may read a volume: that lock is in nobody's way
    let writes = vm.is_some_and(|vm| !vm.spec.volumes[0].read_only);
    let volume = directories.volume_disk(&VOLUME.parse().unwrap());
    expect(&volume, runs && writes);
    if let Some(vm) = vm {
        expect(&directories.vm(vm.id), runs);
        for lock in ["creator.lock", "restart.lock"] {
            expect(&directories.vm(vm.id).join(lock), false);
        }
    }
    found
}

/// Whether anybody has the lock on a file or directory; nobody has that on one
/// which is not there.
pub(crate) fn is_locked(path: &Utf8Path) -> bool {
    fs::File::open(path)
        .is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockShared).is_err())
}

/// Sockets and mounts by their names, and namespaces by those who live there.
fn kernel_objects(root: &Utf8Path, runs: bool) -> Vec<String> {
    let lines = |file: &str| {
        let text = fs::read_to_string(file).unwrap();
        let named = text.lines().filter(|line| line.contains(root.as_str()));
        named
            .map(|line| format!("{file} has {line}"))
            .collect::<Vec<_>>()
    };
    let mut found = lines("/proc/self/mountinfo");
    if !runs {
        found.extend(lines("/proc/net/unix"));
        let known = known_namespaces(root);
        let inhabitants = known.map(processes::inhabitants).unwrap_or_default();
        found.extend(
            inhabitants
                .iter()
                .map(|id| format!("process {id} is in a VMM's namespaces")),
        );
    }
    found
}

/// The port is bound while the VM runs, and never else.
fn port(root: &Utf8Path, runs: bool) -> Option<String> {
    let port = Ground::port(root);
    let bound = TcpListener::bind((port.address, port.host));
    match (bound, runs) {
        (Ok(_), true) => Some(format!("port {} is not bound", port.host)),
        (Err(error), false) => Some(format!("port {}: {error}", port.host)),
        _ => None,
    }
}
