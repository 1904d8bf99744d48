//! Virtual machines.

use banger_api::{
    choices,
    v1::{self, vm_exit::Kind, vm_volume::Source},
};
use banger_core::domain::{
    BackendChoice, Bytes, CommandEnd, GrantedLease, ImageId, Lease, Moment, PublishedPort, Vm,
    VmChange, VmExit, VmProcess, VmSpec, VmVolume, VolumeSource,
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
        state: known(what, "its state", choices::state_of(record.state()))?,
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
        boot_mode: known(
            what,
            "its boot mode",
            choices::boot_mode_of(spec.boot_mode()),
        )?,
        root_disk: known(
            what,
            "its root disk",
            choices::root_disk_of(spec.root_disk()),
        )?,
        network: known(what, "its network", choices::network_of(spec.network()))?,
        backend: wanted,
        ports: ports(what, &spec.ports)?,
        remove_on_stop: spec.remove_on_stop,
        lease: spec
            .lease
            .map(|lease| self::lease(what, lease, granted))
            .transpose()?,
        labels: spec.labels,
        volumes: spec
            .volumes
            .into_iter()
            .map(|one| volume(what, one))
            .collect::<Result<_, _>>()?,
        process: VmProcess {
            argv: spec.command,
            env: spec.env,
            working_directory: given(spec.working_directory),
            user: given(spec.user),
        },
    })
}

fn volume(what: &str, volume: v1::VmVolume) -> Result<VmVolume, Failure> {
    let source = match volume.source {
        Some(Source::Volume(name)) => VolumeSource::Named(id_in("volumes/", &name)?),
        Some(Source::HostPath(path)) if volume.copied => VolumeSource::Directory(path.into()),
        Some(Source::HostPath(path)) => VolumeSource::Disk(path.into()),
        None => return Err(unknown(what, "one of its volumes")),
    };
    Ok(VmVolume {
        source,
        target: volume.target,
        read_only: volume.read_only,
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
            on_expiry: known(
                what,
                "a lease's end",
                choices::on_expiry_of(lease.on_expiry()),
            )?,
        },
        granted: Moment {
            wall: present(granted, what)?,
            since_boot: None,
        },
    })
}

fn known<T>(what: &str, value: &str, known: Option<T>) -> Result<T, Failure> {
    known.ok_or_else(|| unknown(what, value))
}

fn unknown(what: &str, value: &str) -> Failure {
    Failure::confused(what, &format!("{value} is none that is known here"))
}

fn ports(what: &str, ports: &[v1::PublishedPort]) -> Result<Vec<PublishedPort>, Failure> {
    let ports: Result<_, _> = ports.iter().map(choices::port_of).collect();
    ports.map_err(|_| unknown(what, "one of its ports"))
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
        kind: known(what, "a change", choices::change_kind_of(change.kind()))?,
        state: known(what, "its state", choices::state_of(change.state()))?,
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
