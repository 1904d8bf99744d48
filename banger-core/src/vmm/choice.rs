//! Which backend runs a VM.

use camino::Utf8PathBuf;

use super::{BackendError, ChosenJail, HostFacts, JailOptions, KvmFacts};
use crate::domain::{BackendChoice, BackendKind};

/// Where the programs of the backends are. The library never searches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VmmPrograms {
    /// `qemu-system-x86_64`; none when the host has it not.
    pub qemu: Option<Utf8PathBuf>,
    /// `firecracker`; none when the host has it not.
    pub firecracker: Option<Utf8PathBuf>,
    /// `slirp4netns`, which carries a user network of Firecracker's; none when
    /// the host has it not.
    pub slirp4netns: Option<Utf8PathBuf>,
    /// How Firecracker is jailed.
    pub jail: JailOptions,
}

/// A backend that can run VMs on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChosenBackend {
    /// What the VM's record says.
    pub choice: BackendChoice,
    /// Its program.
    pub program: Utf8PathBuf,
    /// How it executes the guest's instructions.
    pub acceleration: Acceleration,
    /// The program that carries a user network, where its own program does not.
    pub network_helper: Option<Utf8PathBuf>,
    /// Its jail, where it has one.
    pub jail: Option<ChosenJail>,
}

/// How a guest's instructions are executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acceleration {
    /// By the CPU, through KVM.
    Kvm,
    /// By translation in software.
    Software,
}

/// Why Firecracker has no network.
const NO_HELPER: &str = "a network of Firecracker's needs slirp4netns (Debian package slirp4netns), which was not found";

/// Chooses the backend: the wanted one, or the best one there is, which is
/// Firecracker where KVM can run it, and QEMU elsewhere. Pure.
pub fn choose_backend(
    programs: &VmmPrograms,
    wanted: Option<BackendKind>,
    facts: &HostFacts,
) -> Result<ChosenBackend, BackendError> {
    match wanted {
        Some(BackendKind::Qemu) => qemu(programs, facts, None),
        Some(BackendKind::Firecracker) => {
            firecracker(programs, facts).map_err(|reason| BackendError::NoFirecracker { reason })
        }
        None if kvm_obstacle(&facts.kvm).is_some() => qemu(programs, facts, None),
        None => {
            firecracker(programs, facts).or_else(|missing| qemu(programs, facts, Some(missing)))
        }
    }
}

/// The same for a machine with a network of the user's, which QEMU has in
/// itself and Firecracker needs a helper for. Pure.
pub fn choose_backend_with_network(
    programs: &VmmPrograms,
    wanted: Option<BackendKind>,
    facts: &HostFacts,
) -> Result<ChosenBackend, BackendError> {
    match choose_backend(programs, wanted, facts)? {
        chosen if chosen.choice.kind == BackendKind::Qemu || chosen.network_helper.is_some() => {
            Ok(chosen)
        }
        _ if wanted.is_none() => qemu(programs, facts, Some(NO_HELPER.to_owned())),
        _ => Err(BackendError::NoFirecracker {
            reason: NO_HELPER.to_owned(),
        }),
    }
}

/// Firecracker, or why it cannot be had. The CPU's word is not required: it may
/// be wrong, and whoever asked for Firecracker knows better.
fn firecracker(programs: &VmmPrograms, facts: &HostFacts) -> Result<ChosenBackend, String> {
    let program = programs
        .firecracker
        .clone()
        .ok_or_else(|| "firecracker was not found".to_owned())?;
    if !facts.firecracker_is_executable {
        return Err(format!("{program} is not an executable file"));
    }
    if facts.kvm.device_problem.is_some() {
        return Err(kvm_obstacle(&facts.kvm).unwrap_or_default());
    }
    let reason = match kvm_obstacle(&facts.kvm) {
        None => "KVM is usable".to_owned(),
        Some(obstacle) => format!("/dev/kvm can be opened, but {obstacle}"),
    };
    let chosen = chosen(BackendKind::Firecracker, program, Acceleration::Kvm, reason);
    Ok(ChosenBackend {
        network_helper: programs.slirp4netns.clone(),
        ..chosen
    })
}

/// QEMU; `passed_over` says why it is not Firecracker where that would do.
fn qemu(
    programs: &VmmPrograms,
    facts: &HostFacts,
    passed_over: Option<String>,
) -> Result<ChosenBackend, BackendError> {
    let program = programs.qemu.clone().ok_or_else(|| {
        no_backend("qemu-system-x86_64 was not found (Debian package qemu-system-x86)".to_owned())
    })?;
    if !facts.qemu_is_executable {
        return Err(no_backend(format!("{program} is not an executable file")));
    }
    let (acceleration, mut reason) = match kvm_obstacle(&facts.kvm) {
        None => (Acceleration::Kvm, "KVM is usable".to_owned()),
        Some(obstacle) => (
            Acceleration::Software,
            format!("software emulation, because {obstacle}"),
        ),
    };
    if let Some(missing) = passed_over {
        reason = format!("{reason}, and {missing}");
    }
    Ok(chosen(BackendKind::Qemu, program, acceleration, reason))
}

const fn chosen(
    kind: BackendKind,
    program: Utf8PathBuf,
    acceleration: Acceleration,
    reason: String,
) -> ChosenBackend {
    ChosenBackend {
        choice: BackendChoice { kind, reason },
        program,
        acceleration,
        network_helper: None,
        jail: None,
    }
}

/// Why KVM cannot be relied on.
pub(crate) fn kvm_obstacle(kvm: &KvmFacts) -> Option<String> {
    match &kvm.device_problem {
        Some(problem) => Some(format!("/dev/kvm cannot be opened ({problem})")),
        None if !kvm.cpu_virtualizes => {
            Some("the CPU has neither the vmx nor the svm flag".to_owned())
        }
        None => None,
    }
}

const fn no_backend(reason: String) -> BackendError {
    BackendError::NoBackend { reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(device_problem: Option<&str>, cpu_virtualizes: bool) -> HostFacts {
        HostFacts {
            qemu_is_executable: true,
            firecracker_is_executable: true,
            kvm: KvmFacts {
                device_problem: device_problem.map(str::to_owned),
                cpu_virtualizes,
            },
        }
    }

    fn programs() -> VmmPrograms {
        VmmPrograms {
            qemu: Some("/usr/bin/qemu-system-x86_64".into()),
            ..VmmPrograms::default()
        }
    }

    fn both() -> VmmPrograms {
        VmmPrograms {
            firecracker: Some("/opt/firecracker".into()),
            slirp4netns: Some("/usr/bin/slirp4netns".into()),
            ..programs()
        }
    }

    #[test]
    fn kvm_needs_its_device_and_the_cpu_flag() {
        let cases = [
            (None, true, Acceleration::Kvm, "KVM is usable"),
            (None, false, Acceleration::Software, "vmx"),
            (Some("denied"), true, Acceleration::Software, "denied"),
            (Some("denied"), false, Acceleration::Software, "denied"),
        ];
        for (problem, flag, acceleration, reason) in cases {
            for wanted in [None, Some(BackendKind::Qemu)] {
                let chosen = choose_backend(&programs(), wanted, &facts(problem, flag)).unwrap();
                assert_eq!(chosen.acceleration, acceleration);
                assert!(chosen.choice.reason.contains(reason), "{chosen:?}");
            }
        }
    }

    #[test]
    fn without_a_program_there_is_no_backend() {
        let none = choose_backend(&VmmPrograms::default(), None, &facts(None, true)).unwrap_err();
        assert!(none.to_string().contains("qemu-system-x86"), "{none}");
        let mut facts = facts(None, true);
        facts.qemu_is_executable = false;
        let broken = choose_backend(&programs(), None, &facts).unwrap_err();
        assert_eq!(broken.kind(), crate::ErrorKind::Unsupported);
    }

    #[test]
    fn firecracker_is_taken_where_kvm_is_usable_or_when_asked_for() {
        let ask = Some(BackendKind::Firecracker);
        let cases = [
            (None, None, true, BackendKind::Firecracker, "KVM is usable"),
            (None, None, false, BackendKind::Qemu, "vmx"),
            (None, Some("denied"), true, BackendKind::Qemu, "denied"),
            (ask, None, true, BackendKind::Firecracker, "KVM is usable"),
            (ask, None, false, BackendKind::Firecracker, "vmx"),
            (
                Some(BackendKind::Qemu),
                None,
                true,
                BackendKind::Qemu,
                "KVM is usable",
            ),
        ];
        for (wanted, problem, flag, kind, reason) in cases {
            let chosen = choose_backend(&both(), wanted, &facts(problem, flag)).unwrap();
            assert_eq!(chosen.choice.kind, kind, "{wanted:?} {problem:?} {flag}");
            assert!(chosen.choice.reason.contains(reason), "{chosen:?}");
        }
    }

    #[test]
    fn a_network_of_firecrackers_needs_its_helper() {
        let ask = Some(BackendKind::Firecracker);
        let without = VmmPrograms {
            slirp4netns: None,
            ..both()
        };
        let refused = choose_backend_with_network(&without, ask, &facts(None, true)).unwrap_err();
        assert!(refused.to_string().contains("slirp4netns"), "{refused}");
        for (programs, word) in [(without, "slirp4netns"), (programs(), "not found")] {
            let chosen = choose_backend_with_network(&programs, None, &facts(None, true)).unwrap();
            assert_eq!(chosen.choice.kind, BackendKind::Qemu);
            assert!(chosen.choice.reason.contains(word), "{chosen:?}");
        }
        for wanted in [None, ask] {
            let chosen = choose_backend_with_network(&both(), wanted, &facts(None, true)).unwrap();
            assert_eq!(chosen.choice.kind, BackendKind::Firecracker);
            assert!(chosen.network_helper.is_some());
        }
    }

    #[test]
    fn a_firecracker_that_cannot_be_had_is_passed_over_but_not_when_asked_for() {
        let ask = Some(BackendKind::Firecracker);
        let mut broken = facts(None, true);
        broken.firecracker_is_executable = false;
        let cases = [
            (programs(), facts(None, true), "not found"),
            (both(), broken, "not an executable"),
            (both(), facts(Some("denied"), true), "denied"),
        ];
        for (programs, facts, word) in cases {
            let chosen = choose_backend(&programs, None, &facts).unwrap();
            assert_eq!(chosen.choice.kind, BackendKind::Qemu);
            assert!(chosen.choice.reason.contains(word), "{chosen:?}");
            let refused = choose_backend(&programs, ask, &facts).unwrap_err();
            assert!(matches!(refused, BackendError::NoFirecracker { .. }));
            assert!(refused.to_string().contains(word), "{refused}");
        }
    }
}
