//! What runs machines.

use super::{failed, ok, skipped, warning};
use crate::{
    diagnostics::{Check, Facts},
    error::in_words,
    vmm::{
        BackendError, ChosenBackend, HostFacts, JailMode, Support, choose_backend,
        choose_backend_with_network, kvm_obstacle,
    },
};

const KVM: &str = "kvm";
const BACKEND: &str = "backend";
const QEMU: &str = "qemu";
const FIRECRACKER: &str = "firecracker";
const JAIL: &str = "jail";
const SLIRP4NETNS: &str = "slirp4netns";
const NAMESPACES: &str = "namespaces";

const NO_FIRECRACKER: &str = "it is of use to Firecracker alone, which was not found";
const GET_QEMU: &str =
    "install QEMU (Debian package qemu-system-x86), or name it with --qemu or BANGER_QEMU";
const GET_FIRECRACKER: &str = "install a release of Firecracker, 1.12 or newer, or name another one with --firecracker or \
     BANGER_FIRECRACKER";

pub(super) fn kvm(facts: &Facts) -> Check {
    let host = match &facts.host {
        Ok(host) => host,
        Err(problem) => return warning(KVM, problem, "look why /dev and /proc do not answer"),
    };
    let Some(obstacle) = kvm_obstacle(&host.kvm) else {
        return ok(KVM, "/dev/kvm can be opened, and the CPU can run guests");
    };
    let advice = match &host.kvm.device_problem {
        Some(problem) if problem.contains("ermission denied") => {
            "let this user open /dev/kvm, on most hosts by adding it to the group kvm; until then \
             machines run in software, which is many times slower"
        }
        Some(_) => {
            "turn virtualization on in the firmware, or nested virtualization where this host is \
             a machine itself, and load the module kvm_intel or kvm_amd; until then machines run \
             in software, which is many times slower"
        }
        None => {
            "give this host a CPU that shows vmx or svm, if it is a machine itself; until then \
             machines run in software, which is many times slower"
        }
    };
    warning(KVM, obstacle, advice)
}

/// What `auto` chooses, with its own reason.
pub(super) fn backend(facts: &Facts) -> Check {
    let host = match &facts.host {
        Ok(host) => host,
        Err(problem) => return failed(BACKEND, problem, "look why /dev and /proc do not answer"),
    };
    match chosen(facts, host) {
        Ok(chosen) => {
            let choice = chosen.choice;
            ok(
                BACKEND,
                format!("{}: {}", choice.kind.as_str(), choice.reason),
            )
        }
        Err(error @ BackendError::NoJail { .. }) => failed(
            BACKEND,
            in_words(&error),
            "see what the check of the jail says",
        ),
        Err(error) => failed(BACKEND, in_words(&error), GET_QEMU),
    }
}

/// The backend of a machine that asks for none, with its jail.
fn chosen(facts: &Facts, host: &HostFacts) -> Result<ChosenBackend, BackendError> {
    let chosen = choose_backend(&facts.programs, None, host)?;
    match &facts.jail {
        Some(Ok(jail)) => chosen.with_jail(&facts.programs.jail, jail),
        Some(Err(_)) | None => Ok(chosen),
    }
}

pub(super) fn qemu(facts: &Facts) -> Check {
    match (&facts.qemu, &facts.firecracker) {
        (Some(Ok(version)), _) => ok(QEMU, version),
        (Some(Err(problem)), _) => failed(QEMU, problem, GET_QEMU),
        (None, Some(Ok(_))) => warning(
            QEMU,
            "it was not found, so only Firecracker runs machines",
            GET_QEMU,
        ),
        (None, _) => failed(QEMU, "it was not found", GET_QEMU),
    }
}

pub(super) fn firecracker(facts: &Facts) -> Check {
    let version = match &facts.firecracker {
        None => return skipped(FIRECRACKER, "it was not found, and nothing needs it"),
        Some(Ok(version)) => version,
        Some(Err(problem)) => return failed(FIRECRACKER, problem, GET_FIRECRACKER),
    };
    match Support::of(version) {
        Support::Good => ok(FIRECRACKER, version),
        Support::TooOld(oldest) => {
            let found = format!("{version}: {oldest} is the oldest that banger can use");
            failed(FIRECRACKER, found, GET_FIRECRACKER)
        }
        Support::Unknown => {
            let found = format!("it says that it is {version:?}, which is no version");
            failed(FIRECRACKER, found, GET_FIRECRACKER)
        }
    }
}

pub(super) fn jail(facts: &Facts) -> Check {
    let mode = facts.programs.jail.mode;
    let obstacle = match &facts.jail {
        None => return skipped(JAIL, NO_FIRECRACKER),
        Some(_) if mode == JailMode::Never => {
            return skipped(JAIL, "the configuration says that there is none");
        }
        Some(Ok(jail)) => jail.obstacle.clone(),
        Some(Err(problem)) => Some(problem.clone()),
    };
    match (obstacle, mode) {
        (None, _) => ok(JAIL, "Firecracker can be jailed"),
        (Some(obstacle), JailMode::Always) => failed(
            JAIL,
            format!("Firecracker cannot be jailed: {obstacle}"),
            "run banger as root with Firecracker's jailer beside it and the state directory on a \
             file system with id-mapped mounts, or set jail.mode to auto",
        ),
        (Some(obstacle), _) => warning(
            JAIL,
            format!("Firecracker runs without a jail: {obstacle}"),
            "run banger as root with Firecracker's jailer beside it and the state directory on a \
             file system with id-mapped mounts, or set jail.mode to never",
        ),
    }
}

pub(super) fn slirp4netns(facts: &Facts) -> Check {
    let Some(helper) = &facts.helper else {
        return skipped(SLIRP4NETNS, NO_FIRECRACKER);
    };
    let get = "install slirp4netns (Debian package slirp4netns)";
    match &helper.slirp4netns {
        Some(Ok(version)) => ok(SLIRP4NETNS, version),
        Some(Err(problem)) => failed(SLIRP4NETNS, problem, get),
        None => match with_network(facts) {
            Some(reason) => {
                let found = format!("it was not found: machines with a network run in {reason}");
                warning(SLIRP4NETNS, found, get)
            }
            None => failed(
                SLIRP4NETNS,
                "it was not found: no machine can have a network",
                get,
            ),
        },
    }
}

/// What runs a machine with a network, and why.
fn with_network(facts: &Facts) -> Option<String> {
    let host = facts.host.as_ref().ok()?;
    let chosen = choose_backend_with_network(&facts.programs, None, host).ok()?;
    let choice = chosen.choice;
    Some(format!("{} ({})", choice.kind.as_str(), choice.reason))
}

pub(super) fn namespaces(facts: &Facts) -> Check {
    let Some(helper) = &facts.helper else {
        return skipped(NAMESPACES, NO_FIRECRACKER);
    };
    match &helper.namespaces {
        Ok(()) => ok(NAMESPACES, "a network of Firecracker's can be made"),
        Err(problem) => warning(
            NAMESPACES,
            format!("Firecracker can have no network: {problem}"),
            "let users make namespaces (sysctls user.max_user_namespaces and \
             kernel.apparmor_restrict_unprivileged_userns), and load the modules tun and bridge",
        ),
    }
}
