//! Which backend runs a VM.

use camino::Utf8PathBuf;

use super::{BackendError, HostFacts, KvmFacts};
use crate::domain::{BackendChoice, BackendKind};

/// Where the programs of the backends are. The library never searches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VmmPrograms {
    /// `qemu-system-x86_64`; none when the host has it not.
    pub qemu: Option<Utf8PathBuf>,
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
}

/// How a guest's instructions are executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acceleration {
    /// By the CPU, through KVM.
    Kvm,
    /// By translation in software.
    Software,
}

/// Chooses the backend: the wanted one, or the best one there is. Pure.
pub fn choose_backend(
    programs: &VmmPrograms,
    wanted: Option<BackendKind>,
    facts: &HostFacts,
) -> Result<ChosenBackend, BackendError> {
    match wanted {
        None | Some(BackendKind::Qemu) => qemu(programs, facts),
    }
}

fn qemu(programs: &VmmPrograms, facts: &HostFacts) -> Result<ChosenBackend, BackendError> {
    let program = programs.qemu.clone().ok_or_else(|| {
        no_backend("qemu-system-x86_64 was not found (Debian package qemu-system-x86)".to_owned())
    })?;
    if !facts.qemu_is_executable {
        return Err(no_backend(format!("{program} is not an executable file")));
    }
    let (acceleration, reason) = acceleration(&facts.kvm);
    Ok(ChosenBackend {
        choice: BackendChoice {
            kind: BackendKind::Qemu,
            reason,
        },
        program,
        acceleration,
    })
}

fn acceleration(kvm: &KvmFacts) -> (Acceleration, String) {
    let obstacle = match &kvm.device_problem {
        Some(problem) => Some(format!("/dev/kvm cannot be opened ({problem})")),
        None if !kvm.cpu_virtualizes => {
            Some("the CPU has neither the vmx nor the svm flag".to_owned())
        }
        None => None,
    };
    match obstacle {
        None => (Acceleration::Kvm, "KVM is usable".to_owned()),
        Some(obstacle) => (
            Acceleration::Software,
            format!("software emulation, because {obstacle}"),
        ),
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
            kvm: KvmFacts {
                device_problem: device_problem.map(str::to_owned),
                cpu_virtualizes,
            },
        }
    }

    fn programs() -> VmmPrograms {
        VmmPrograms {
            qemu: Some("/usr/bin/qemu-system-x86_64".into()),
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
}
