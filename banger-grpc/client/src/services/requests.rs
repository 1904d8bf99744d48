//! From what the core is asked for to the API's requests. Pure.

use std::time::Duration;

use banger_api::v1;
use banger_core::{
    domain::{BootMode, Lease, NetworkMode, OnExpiry, PortProtocol, PublishedPort, RootDiskMode},
    vm::{CreateVm, ExecRequest, OnFull, WhenDetached},
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
        root_disk: root_disk(request.root_disk).into(),
        boot_mode: boot_mode(request.boot_mode).into(),
        backend: request
            .backend
            .map(|kind| kind.as_str().to_owned())
            .unwrap_or_default(),
        network: network(request.network).into(),
        ports: ports(&request.ports),
        remove_on_stop: request.remove_on_stop,
        lease: request.lease.map(lease),
        labels: request.labels.clone(),
        command: process.argv,
        env: process.env,
        working_directory: process.working_directory.unwrap_or_default(),
        user: process.user.unwrap_or_default(),
    }
}

pub(super) fn ports(ports: &[PublishedPort]) -> Vec<v1::PublishedPort> {
    ports.iter().map(port).collect()
}

fn port(port: &PublishedPort) -> v1::PublishedPort {
    let protocol = match port.protocol {
        PortProtocol::Tcp => v1::PortProtocol::Tcp,
        PortProtocol::Udp => v1::PortProtocol::Udp,
    };
    v1::PublishedPort {
        address: port.address.to_string(),
        host_port: port.host.into(),
        guest_port: port.guest.get().into(),
        protocol: protocol.into(),
    }
}

pub(super) fn lease(lease: Lease) -> v1::Lease {
    v1::Lease {
        max_lifetime: lease.max_lifetime.and_then(duration),
        idle_timeout: lease.idle_timeout.and_then(duration),
        on_expiry: match lease.on_expiry {
            OnExpiry::Stop => v1::LeaseExpiry::Stop,
            OnExpiry::Delete => v1::LeaseExpiry::Delete,
            _ => v1::LeaseExpiry::Unspecified,
        }
        .into(),
    }
}

const fn root_disk(mode: RootDiskMode) -> v1::RootDisk {
    match mode {
        RootDiskMode::Overlay => v1::RootDisk::Overlay,
        RootDiskMode::Clone => v1::RootDisk::Clone,
        _ => v1::RootDisk::Unspecified,
    }
}

const fn boot_mode(mode: BootMode) -> v1::BootMode {
    match mode {
        BootMode::Agent => v1::BootMode::Agent,
        BootMode::Entrypoint => v1::BootMode::Entrypoint,
        BootMode::Init => v1::BootMode::Init,
        BootMode::Native => v1::BootMode::Native,
        _ => v1::BootMode::Unspecified,
    }
}

const fn network(mode: NetworkMode) -> v1::Network {
    match mode {
        NetworkMode::None => v1::Network::None,
        NetworkMode::User => v1::Network::User,
        _ => v1::Network::Unspecified,
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
