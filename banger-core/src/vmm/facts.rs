//! What this host has to offer, looked up once per choice.

use std::{fs, os::unix::fs::PermissionsExt as _};

use camino::Utf8Path;

use super::VmmPrograms;

/// What matters of a host for the choice of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFacts {
    /// Whether the named QEMU is a file that can be executed.
    pub qemu_is_executable: bool,
    /// Whether the named Firecracker is a file that can be executed.
    pub firecracker_is_executable: bool,
    /// What is known of KVM.
    pub kvm: KvmFacts,
}

/// What is known of KVM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvmFacts {
    /// Why `/dev/kvm` cannot be opened; none when it can.
    pub device_problem: Option<String>,
    /// Whether the CPU says it can run guests (flag `vmx` or `svm`). Without,
    /// KVM may be there and yet be unable to run Linux.
    pub cpu_virtualizes: bool,
}

impl HostFacts {
    /// Looks at this host. Reads a few small files.
    #[must_use]
    pub fn gather(programs: &VmmPrograms) -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Self {
            qemu_is_executable: programs.qemu.as_deref().is_some_and(is_executable),
            firecracker_is_executable: programs.firecracker.as_deref().is_some_and(is_executable),
            kvm: KvmFacts {
                device_problem: device_problem(Utf8Path::new("/dev/kvm")),
                cpu_virtualizes: virtualizes(&cpuinfo),
            },
        }
    }
}

pub(crate) fn is_executable(path: &Utf8Path) -> bool {
    fs::metadata(path)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

fn device_problem(path: &Utf8Path) -> Option<String> {
    let opened = fs::OpenOptions::new().read(true).write(true).open(path);
    opened.err().map(|error| error.to_string())
}

/// Whether a text in the form of `/proc/cpuinfo` names a CPU that can run guests.
fn virtualizes(cpuinfo: &str) -> bool {
    let flags = cpuinfo.lines().find_map(|line| line.strip_prefix("flags"));
    flags.is_some_and(|flags| {
        flags
            .split_whitespace()
            .any(|flag| matches!(flag, "vmx" | "svm"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_flags_are_read_whole() {
        for (text, expected) in [
            ("processor\t: 0\nflags\t\t: fpu vmx sse\n", true),
            ("flags\t\t: fpu svm\n", true),
            ("flags\t\t: fpu svm_lock vmxnet\n", false),
            ("model name\t: vmx svm\n", false),
            ("", false),
        ] {
            assert_eq!(virtualizes(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_program_must_be_a_file_one_can_execute() {
        assert!(is_executable(Utf8Path::new("/bin/sh")));
        for path in ["/", "/etc/passwd", "/nowhere"] {
            assert!(!is_executable(Utf8Path::new(path)), "{path}");
        }
    }

    #[test]
    fn a_missing_device_is_named_by_its_error() {
        let problem = device_problem(Utf8Path::new("/nowhere/kvm")).unwrap();
        assert!(problem.contains("No such file"), "{problem}");
    }
}
