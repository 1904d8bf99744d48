//! How much machines may take. Pure but for [`Budget::of_host`].

use std::{fs, io, num::NonZeroUsize, thread};

use banger_core::store::Committed;
use camino::Utf8Path;

/// Amounts of what machines take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Machines.
    pub vms: u64,
    /// Virtual CPUs of those that run.
    pub vcpus: u64,
    /// Bytes of memory of those that run.
    pub memory: u64,
    /// Bytes that disks may grow to.
    pub disk: u64,
}

/// Most of each; none where there is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// Machines.
    pub vms: Option<u64>,
    /// Virtual CPUs of those that run.
    pub vcpus: Option<u64>,
    /// Bytes of memory of those that run.
    pub memory: Option<u64>,
    /// Bytes that disks may grow to.
    pub disk: Option<u64>,
}

/// How much of the host's is promised, in percent of what it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overcommit {
    /// Of its CPUs.
    pub vcpus: u32,
    /// Of its memory.
    pub memory: u32,
    /// Of its disk.
    pub disk: u32,
}

/// How much machines may take of a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// What the host has for machines; none of something has no limit.
    pub host: Limit,
    /// How much of that is promised.
    pub overcommit: Overcommit,
    /// Most of each caller.
    pub per_owner: Limit,
}

impl Amounts {
    /// What each is called.
    pub(crate) const NAMES: [&str; 4] = ["vms", "vcpus", "memory_bytes", "disk_bytes"];

    pub(crate) const fn each(&self) -> [u64; 4] {
        [self.vms, self.vcpus, self.memory, self.disk]
    }

    pub(crate) const fn plus(self, other: Self) -> Self {
        Self {
            vms: self.vms.saturating_add(other.vms),
            vcpus: self.vcpus.saturating_add(other.vcpus),
            memory: self.memory.saturating_add(other.memory),
            disk: self.disk.saturating_add(other.disk),
        }
    }
}

impl From<Committed> for Amounts {
    fn from(committed: Committed) -> Self {
        Self {
            vms: committed.vms,
            vcpus: committed.vcpus,
            memory: committed.memory,
            disk: committed.disk,
        }
    }
}

impl Limit {
    pub(crate) const fn each(&self) -> [Option<u64>; 4] {
        [self.vms, self.vcpus, self.memory, self.disk]
    }
}

impl Default for Overcommit {
    /// CPUs are shared by time, and disks hold only what is written; memory is used.
    fn default() -> Self {
        Self {
            vcpus: 1600,
            memory: 100,
            disk: 1600,
        }
    }
}

impl Budget {
    /// What this host has, with its disk that holds a directory.
    pub fn of_host(state: &Utf8Path) -> io::Result<Self> {
        let cpus = thread::available_parallelism().map(NonZeroUsize::get)?;
        let disk = rustix::fs::statvfs(state.as_std_path())?;
        Ok(Self {
            host: Limit {
                vms: None,
                vcpus: Some(cpus as u64),
                memory: Some(memory(&fs::read_to_string("/proc/meminfo")?)?),
                disk: Some(disk.f_blocks.saturating_mul(disk.f_frsize)),
            },
            ..Self::default()
        })
    }

    /// Most that is promised.
    #[must_use]
    pub fn limit(&self) -> Limit {
        let percent = |amount: Option<u64>, percent: u32| {
            let most = u128::from(amount?) * u128::from(percent) / 100;
            Some(u64::try_from(most).unwrap_or(u64::MAX))
        };
        Limit {
            vms: self.host.vms,
            vcpus: percent(self.host.vcpus, self.overcommit.vcpus),
            memory: percent(self.host.memory, self.overcommit.memory),
            disk: percent(self.host.disk, self.overcommit.disk),
        }
    }
}

/// The host's memory (proc(5), meminfo).
fn memory(meminfo: &str) -> io::Result<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok());
    let kibibytes: u64 =
        kibibytes.ok_or_else(|| io::Error::other("/proc/meminfo has no MemTotal"))?;
    Ok(kibibytes.saturating_mul(1024))
}
