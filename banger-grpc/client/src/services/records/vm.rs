//! Virtual machines.

use std::net::Ipv4Addr;

use banger_api::v1::{self, vm_exit::Kind};
use banger_core::domain::{
    BackendChoice, BootMode, Bytes, CommandEnd, GrantedLease, ImageId, Lease, Moment, NetworkMode,
    OnExpiry, PortProtocol, PublishedPort, RootDiskMode, Vm, VmChange, VmChangeKind, VmExit,
    VmProcess, VmSpec, VmState,
};

use super::{backend, duration, given, id_in, parse, present, time};
use crate::Failure;

#[expect(
    clippy::needless_pass_by_value,
    reason = "an answer is taken apart once"
)]
pub(in crate::services) fn vm(record: v1::Vm) -> Result<Vm, Failure> {
    let what = record.name.as_str();
    let granted = time(what, record.lease_time)?;
    let choice = match record.backend.as_str() {
        "" => None,
        name => Some(BackendChoice {
            kind: backend(what, name)?,
            reason: record.backend_message.clone(),
        }),
    };
    Ok(Vm {
        id: parse(what, &record.uid)?,
        name: id_in("vms/", what)?,
        image: id_in::<ImageId>("images/", &record.image)?,
        state: state(what, record.state())?,
        reason: record.state_message.clone(),
        backend: choice,
        boot_id: given(record.boot_id.clone()),
        ports: ports(what, &record.bound_ports)?,
        exit: record
            .exit
            .clone()
            .map(|exit| vm_exit(what, exit))
            .transpose()?,
        created: present(time(what, record.create_time)?, what)?,
        started: time(what, record.start_time)?,
        stopped: time(what, record.stop_time)?,
        generation: record.generation,
        spec: spec(what, present(record.spec.clone(), what)?, granted)?,
    })
}

fn spec(
    what: &str,
    spec: v1::VmSpec,
    granted: Option<std::time::SystemTime>,
) -> Result<VmSpec, Failure> {
    let wanted = match spec.backend.as_str() {
        "" => None,
        name => Some(backend(what, name)?),
    };
    Ok(VmSpec {
        vcpus: spec.vcpus,
        memory: Bytes::new(spec.memory_bytes),
        disk_size: Bytes::new(spec.disk_bytes),
        boot_mode: boot_mode(what, spec.boot_mode())?,
        root_disk: root_disk(what, spec.root_disk())?,
        network: network(what, spec.network())?,
        backend: wanted,
        ports: ports(what, &spec.ports)?,
        remove_on_stop: spec.remove_on_stop,
        lease: spec
            .lease
            .map(|lease| self::lease(what, lease, granted))
            .transpose()?,
        labels: spec.labels,
        // the API has none of them
        volumes: Vec::new(),
        process: VmProcess {
            argv: spec.command,
            env: spec.env,
            working_directory: given(spec.working_directory),
            user: given(spec.user),
        },
    })
}

fn lease(
    what: &str,
    lease: v1::Lease,
    granted: Option<std::time::SystemTime>,
) -> Result<GrantedLease, Failure> {
    Ok(GrantedLease {
        lease: Lease {
            max_lifetime: duration(what, lease.max_lifetime)?,
            idle_timeout: duration(what, lease.idle_timeout)?,
            on_expiry: match lease.on_expiry() {
                v1::LeaseExpiry::Stop => OnExpiry::Stop,
                v1::LeaseExpiry::Delete => OnExpiry::Delete,
                v1::LeaseExpiry::Unspecified => return Err(unknown(what, "a lease's end")),
            },
        },
        granted: Moment {
            wall: present(granted, what)?,
            since_boot: None,
        },
    })
}

fn unknown(what: &str, value: &str) -> Failure {
    Failure::confused(what, &format!("{value} is none that is known here"))
}

fn state(what: &str, state: v1::VmState) -> Result<VmState, Failure> {
    Ok(match state {
        v1::VmState::Creating => VmState::Creating,
        v1::VmState::Created => VmState::Created,
        v1::VmState::Starting => VmState::Starting,
        v1::VmState::Running => VmState::Running,
        v1::VmState::Paused => VmState::Paused,
        v1::VmState::Stopping => VmState::Stopping,
        v1::VmState::Stopped => VmState::Stopped,
        v1::VmState::Failed => VmState::Failed,
        v1::VmState::Deleting => VmState::Deleting,
        v1::VmState::Unspecified => return Err(unknown(what, "its state")),
    })
}

fn boot_mode(what: &str, mode: v1::BootMode) -> Result<BootMode, Failure> {
    Ok(match mode {
        v1::BootMode::Agent => BootMode::Agent,
        v1::BootMode::Entrypoint => BootMode::Entrypoint,
        v1::BootMode::Init => BootMode::Init,
        v1::BootMode::Native => BootMode::Native,
        v1::BootMode::Unspecified => return Err(unknown(what, "its boot mode")),
    })
}

fn root_disk(what: &str, mode: v1::RootDisk) -> Result<RootDiskMode, Failure> {
    Ok(match mode {
        v1::RootDisk::Overlay => RootDiskMode::Overlay,
        v1::RootDisk::Clone => RootDiskMode::Clone,
        v1::RootDisk::Unspecified => return Err(unknown(what, "its root disk")),
    })
}

fn network(what: &str, mode: v1::Network) -> Result<NetworkMode, Failure> {
    Ok(match mode {
        v1::Network::None => NetworkMode::None,
        v1::Network::User => NetworkMode::User,
        v1::Network::Unspecified => return Err(unknown(what, "its network")),
    })
}

fn ports(what: &str, ports: &[v1::PublishedPort]) -> Result<Vec<PublishedPort>, Failure> {
    let port = |port: &v1::PublishedPort| {
        Some(PublishedPort {
            address: port.address.parse::<Ipv4Addr>().ok()?,
            host: u16::try_from(port.host_port).ok()?,
            guest: u16::try_from(port.guest_port).ok()?.try_into().ok()?,
            protocol: match port.protocol() {
                v1::PortProtocol::Tcp => PortProtocol::Tcp,
                v1::PortProtocol::Udp => PortProtocol::Udp,
                v1::PortProtocol::Unspecified => return None,
            },
        })
    };
    let ports: Option<_> = ports.iter().map(port).collect();
    ports.ok_or_else(|| unknown(what, "one of its ports"))
}

fn vm_exit(what: &str, exit: v1::VmExit) -> Result<VmExit, Failure> {
    let number = |number: u32| u8::try_from(number).ok();
    let exit = exit.kind.and_then(|kind| {
        Some(match kind {
            Kind::PoweredOff(_) => VmExit::PoweredOff,
            Kind::Forced(_) => VmExit::Forced,
            Kind::VmmDied(words) => VmExit::VmmDied(words),
            Kind::NetworkLost(words) => VmExit::NetworkLost(words),
            Kind::MonitorLost(_) => VmExit::MonitorLost,
            Kind::ExitCode(code) => VmExit::Command(CommandEnd::Code(number(code)?)),
            Kind::Signal(signal) => VmExit::Command(CommandEnd::Signal(number(signal)?)),
        })
    });
    exit.ok_or_else(|| unknown(what, "its exit"))
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "an answer is taken apart once"
)]
pub(in crate::services) fn vm_change(change: v1::VmChange) -> Result<VmChange, Failure> {
    let what = change.vm.as_str();
    Ok(VmChange {
        sequence: change.sequence,
        at: present(time(what, change.time)?, what)?,
        vm: parse(what, &change.uid)?,
        name: id_in("vms/", what)?,
        kind: match change.kind() {
            v1::VmChangeKind::Created => VmChangeKind::Created,
            v1::VmChangeKind::Changed => VmChangeKind::Changed,
            v1::VmChangeKind::Removed => VmChangeKind::Removed,
            v1::VmChangeKind::Unspecified => return Err(unknown(what, "a change")),
        },
        state: state(what, change.state())?,
        reason: change.state_message.clone(),
        exit: change
            .exit
            .clone()
            .map(|exit| vm_exit(what, exit))
            .transpose()?,
        generation: change.generation,
        owner: None,
    })
}
