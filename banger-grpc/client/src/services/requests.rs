//! From what the core is asked for to the API's requests. Pure.

use std::time::Duration;

use banger_api::{
    choices,
    v1::{self, vm_volume::Source},
};
use banger_core::{
    domain::{Lease, PublishedPort},
    vm::{CreateVm, ExecRequest, OnFull, RequestedSource, VolumeRequest, WhenDetached},
};

use crate::exec::wire_size;

pub(super) fn duration(duration: Duration) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(duration).ok()
}

pub(super) fn spec(request: &CreateVm) -> v1::VmSpec {
    let process = request.process.clone();
    v1::VmSpec {
        vcpus: request.vcpus,
        memory_bytes: request.memory.get(),
        disk_bytes: request.disk_size.get(),
        root_disk: choices::root_disk(request.root_disk).into(),
        boot_mode: choices::boot_mode(request.boot_mode).into(),
        backend: request
            .backend
            .map(|kind| kind.as_str().to_owned())
            .unwrap_or_default(),
        network: choices::network(request.network).into(),
        ports: ports(&request.ports),
        remove_on_stop: request.remove_on_stop,
        lease: request.lease.map(lease),
        labels: request.labels.clone(),
        command: process.argv,
        env: process.env,
        working_directory: process.working_directory.unwrap_or_default(),
        user: process.user.unwrap_or_default(),
        volumes: request.volumes.iter().map(volume).collect(),
    }
}

fn volume(volume: &VolumeRequest) -> v1::VmVolume {
    let source = match &volume.source {
        RequestedSource::Named(name) => Some(Source::Volume(format!("volumes/{name}"))),
        RequestedSource::Path(path) => Some(Source::HostPath(path.to_string())),
        _ => None,
    };
    v1::VmVolume {
        source,
        target: volume.target.clone(),
        read_only: volume.read_only,
        ..v1::VmVolume::default()
    }
}

pub(super) fn ports(ports: &[PublishedPort]) -> Vec<v1::PublishedPort> {
    ports.iter().map(choices::port).collect()
}

pub(super) fn lease(lease: Lease) -> v1::Lease {
    v1::Lease {
        max_lifetime: lease.max_lifetime.and_then(duration),
        idle_timeout: lease.idle_timeout.and_then(duration),
        on_expiry: choices::on_expiry(lease.on_expiry).into(),
    }
}

pub(super) fn exec(vm: String, request: ExecRequest) -> v1::CreateExecRequest {
    v1::CreateExecRequest {
        request_id: String::new(),
        vm,
        argv: request.argv,
        env: request.env,
        working_directory: request.working_directory.unwrap_or_default(),
        user: request.user.unwrap_or_default(),
        terminal: request.terminal.map(wire_size),
        timeout: request.timeout.and_then(duration),
        drop_oldest: request.on_full == OnFull::DropOldest,
        without_stdin: request.without_stdin,
        login_shell: request.login_shell,
        exec_id: request.id.map(|id| id.to_string()).unwrap_or_default(),
        detached_grace: match request.when_detached {
            WhenDetached::Kill { grace } => duration(grace),
            WhenDetached::Keep => None,
        },
    }
}
