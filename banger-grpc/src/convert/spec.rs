//! From what a client asks of a machine to what the core takes.

use std::{collections::BTreeMap, time::Duration};

use banger_api::{choices, v1};
use banger_core::{
    domain::{
        BackendKind, BootMode, Bytes, Lease, NetworkMode, OnExpiry, PublishedPort, RootDiskMode,
        Selector, VmName, VmProcess,
    },
    vm::CreateVm,
};

use super::{vm::OWN_LABELS, volume};
use crate::request::Checks;

const MAX_LABELS: usize = 64;
const MAX_LABEL_KEY: usize = 63;
const MAX_LABEL_VALUE: usize = 255;
const MAX_WORDS: usize = 1024;
const MAX_PORTS: usize = 256;

/// The core's request; what is wrong with the spec is noted in `checks`.
pub(crate) fn create_vm(
    image: Selector,
    name: Option<VmName>,
    spec: &v1::VmSpec,
    checks: &mut Checks,
) -> CreateVm {
    let defaults = CreateVm::new(image);
    check_words("spec.command", &spec.command, checks);
    check_env("spec.env", &spec.env, checks);
    check_labels("spec.labels", &spec.labels, checks);
    CreateVm {
        name,
        vcpus: given_or(spec.vcpus, defaults.vcpus),
        memory: size_or(spec.memory_bytes, defaults.memory),
        disk_size: size_or(spec.disk_bytes, defaults.disk_size),
        boot_mode: boot_mode(spec, checks).unwrap_or(defaults.boot_mode),
        root_disk: root_disk(spec, checks).unwrap_or(defaults.root_disk),
        backend: backend("spec.backend", &spec.backend, checks),
        network: network("spec.network", spec.network, checks).unwrap_or(defaults.network),
        ports: ports("spec.ports", &spec.ports, checks),
        remove_on_stop: spec.remove_on_stop,
        lease: spec
            .lease
            .as_ref()
            .map(|one| lease("spec.lease", one, checks)),
        labels: spec.labels.clone(),
        process: VmProcess {
            argv: spec.command.clone(),
            env: spec.env.clone(),
            working_directory: given(&spec.working_directory),
            user: given(&spec.user),
        },
        volumes: volume::requests(&spec.volumes, checks),
        ..defaults
    }
}

fn given(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// Notes what is wrong with the words of a command line or an environment.
pub(crate) fn check_words(field: &str, words: &[String], checks: &mut Checks) {
    if MAX_WORDS < words.len() {
        checks.violated(field, format!("has more than {MAX_WORDS} parts"));
    }
    if words.iter().any(|word| word.contains('\0')) {
        checks.violated(field, "holds a zero byte");
    }
}

/// Notes what is wrong with an environment.
pub(crate) fn check_env(field: &str, env: &[String], checks: &mut Checks) {
    check_words(field, env, checks);
    if let Some(word) = env.iter().find(|word| !word.contains('=')) {
        checks.violated(field, format!("{word:?} is not KEY=VALUE"));
    }
}

/// Notes what is wrong with a user's labels.
pub(crate) fn check_labels(field: &str, labels: &BTreeMap<String, String>, checks: &mut Checks) {
    if MAX_LABELS < labels.len() {
        checks.violated(field, format!("more than {MAX_LABELS}"));
    }
    for (key, value) in labels {
        if key.starts_with(OWN_LABELS) {
            checks.violated(field, format!("{key:?} is the server's"));
        }
        if !(1..=MAX_LABEL_KEY).contains(&key.len()) {
            checks.violated(field, format!("a key has 1 to {MAX_LABEL_KEY} bytes"));
        }
        if MAX_LABEL_VALUE < value.len() {
            let problem = format!("the value of {key:?} is longer than {MAX_LABEL_VALUE} bytes");
            checks.violated(field, problem);
        }
    }
}

fn boot_mode(spec: &v1::VmSpec, checks: &mut Checks) -> Option<BootMode> {
    match v1::BootMode::try_from(spec.boot_mode) {
        Ok(mode) => choices::boot_mode_of(mode),
        Err(_) => checks.unknown("spec.boot_mode", spec.boot_mode),
    }
}

fn root_disk(spec: &v1::VmSpec, checks: &mut Checks) -> Option<RootDiskMode> {
    match v1::RootDisk::try_from(spec.root_disk) {
        Ok(mode) => choices::root_disk_of(mode),
        Err(_) => checks.unknown("spec.root_disk", spec.root_disk),
    }
}

/// A number of a request, or the usual one where it is zero.
pub(crate) fn given_or<N: Default + PartialEq>(given: N, usual: N) -> N {
    if given == N::default() { usual } else { given }
}

/// The same of a size.
pub(crate) fn size_or(given: u64, usual: Bytes) -> Bytes {
    Bytes::new(given_or(given, usual.get()))
}

/// The network that a client asks for.
pub(crate) fn network(field: &str, asked: i32, checks: &mut Checks) -> Option<NetworkMode> {
    match v1::Network::try_from(asked) {
        Ok(mode) => choices::network_of(mode),
        Err(_) => checks.unknown(field, asked),
    }
}

/// The backend that a client asks for.
pub(crate) fn backend(field: &str, name: &str, checks: &mut Checks) -> Option<BackendKind> {
    if name.is_empty() {
        return None;
    }
    let known = BackendKind::ALL
        .into_iter()
        .find(|kind| kind.as_str() == name);
    if known.is_none() {
        checks.violated(field, format!("{name:?} is unknown"));
    }
    known
}

pub(crate) fn ports(
    field: &str,
    ports: &[v1::PublishedPort],
    checks: &mut Checks,
) -> Vec<PublishedPort> {
    if MAX_PORTS < ports.len() {
        checks.violated(field, format!("more than {MAX_PORTS}"));
        return Vec::new();
    }
    let mut published = Vec::with_capacity(ports.len());
    for (index, port) in ports.iter().enumerate() {
        match choices::port_of(port) {
            Ok(port) => published.push(port),
            Err(problem) => checks.violated(&format!("{field}[{index}]"), problem),
        }
    }
    published
}

/// The lease that a client asks for.
pub(crate) fn lease(field: &str, lease: &v1::Lease, checks: &mut Checks) -> Lease {
    let mut limit = |name: &str, limit: Option<prost_types::Duration>| -> Option<Duration> {
        let field = format!("{field}.{name}");
        let limit = checks.duration(&field, limit)?;
        if limit.is_zero() {
            checks.violated(&field, "must be longer than nothing");
        }
        Some(limit)
    };
    let max_lifetime = limit("max_lifetime", lease.max_lifetime);
    let idle_timeout = limit("idle_timeout", lease.idle_timeout);
    let on_expiry = match v1::LeaseExpiry::try_from(lease.on_expiry) {
        Ok(choice) => choices::on_expiry_of(choice),
        Err(_) => checks.unknown(&format!("{field}.on_expiry"), lease.on_expiry),
    };
    if max_lifetime.is_none() && idle_timeout.is_none() {
        checks.violated(field, "limits nothing");
    }
    Lease {
        max_lifetime,
        idle_timeout,
        on_expiry: on_expiry.unwrap_or(OnExpiry::Delete),
    }
}
