//! How much machines and uploads may take, from the command line.

use std::io;

use banger_core::domain::Bytes;
use banger_grpc::{
    capacity::{Budget, Limit, Overcommit},
    uploads::UploadLimits,
};
use camino::Utf8Path;
use clap::Args;

/// How much machines and uploads may take of the host, and how much of each caller's.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct BudgetArguments {
    /// Promise no more than this many VMs in all
    #[arg(long, value_name = "COUNT")]
    max_vms: Option<u64>,
    /// Take the host for one with this many CPUs [default: those it has]
    #[arg(long, value_name = "COUNT")]
    host_vcpus: Option<u64>,
    /// Take the host for one with this much memory [default: what it has]
    #[arg(long, value_name = "SIZE")]
    host_memory: Option<Bytes>,
    /// Take the host for one with a disk of this size [default: what the disk
    /// with the state has]
    #[arg(long, value_name = "SIZE")]
    host_disk: Option<Bytes>,
    /// Promise running VMs this much of the host's CPUs [default: 1600]
    #[arg(long, value_name = "PERCENT")]
    overcommit_vcpus: Option<u32>,
    /// Promise running VMs this much of the host's memory [default: 100]
    #[arg(long, value_name = "PERCENT")]
    overcommit_memory: Option<u32>,
    /// Promise VMs this much of the host's disk [default: 1600]
    #[arg(long, value_name = "PERCENT")]
    overcommit_disk: Option<u32>,
    /// Give each caller no more than this many VMs
    #[arg(long, value_name = "COUNT")]
    owner_vms: Option<u64>,
    /// Give each caller's running VMs no more than this many CPUs
    #[arg(long, value_name = "COUNT")]
    owner_vcpus: Option<u64>,
    /// Give each caller's running VMs no more than this much memory
    #[arg(long, value_name = "SIZE")]
    owner_memory: Option<Bytes>,
    /// Give each caller's VMs no more than this much disk
    #[arg(long, value_name = "SIZE")]
    owner_disk: Option<Bytes>,
    /// Take no more than this much of files that clients send [default: 256G]
    #[arg(long, value_name = "SIZE")]
    max_uploads_size: Option<Bytes>,
    /// Take no more than this much of each caller's [default: 64G]
    #[arg(long, value_name = "SIZE")]
    owner_uploads_size: Option<Bytes>,
    /// Take no more than this many files of each caller's [default: 16]
    #[arg(long, value_name = "COUNT")]
    owner_uploads: Option<usize>,
}

impl BudgetArguments {
    /// What clients' files may take.
    pub(crate) fn uploads(&self) -> UploadLimits {
        let usual = UploadLimits::default();
        let owner_bytes = self.owner_uploads_size.map(Bytes::get);
        let all_bytes = self.max_uploads_size.map(Bytes::get);
        UploadLimits {
            owner_bytes: owner_bytes.unwrap_or(usual.owner_bytes),
            all_bytes: all_bytes.unwrap_or(usual.all_bytes),
            owner_count: self.owner_uploads.unwrap_or(usual.owner_count),
        }
    }

    /// The budget of this host, with its disk that holds the state.
    pub(crate) fn budget(&self, state: &Utf8Path) -> io::Result<Budget> {
        Ok(self.over(Budget::of_host(state)?))
    }

    fn over(&self, found: Budget) -> Budget {
        let usual = found.overcommit;
        Budget {
            host: Limit {
                vms: self.max_vms,
                vcpus: self.host_vcpus.or(found.host.vcpus),
                memory: self.host_memory.map(Bytes::get).or(found.host.memory),
                disk: self.host_disk.map(Bytes::get).or(found.host.disk),
            },
            overcommit: Overcommit {
                vcpus: self.overcommit_vcpus.unwrap_or(usual.vcpus),
                memory: self.overcommit_memory.unwrap_or(usual.memory),
                disk: self.overcommit_disk.unwrap_or(usual.disk),
            },
            per_owner: Limit {
                vms: self.owner_vms,
                vcpus: self.owner_vcpus,
                memory: self.owner_memory.map(Bytes::get),
                disk: self.owner_disk.map(Bytes::get),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        budget: BudgetArguments,
    }

    #[test]
    fn what_is_said_counts_more_than_what_is_found() {
        let found = Budget {
            host: Limit {
                vcpus: Some(4),
                memory: Some(1 << 30),
                ..Limit::default()
            },
            ..Budget::default()
        };
        let words = [
            "x",
            "--host-memory=2GiB",
            "--overcommit-vcpus=300",
            "--owner-vms=5",
            "--owner-uploads-size=1GiB",
            "--owner-uploads=3",
        ];
        let arguments = Alone::try_parse_from(words).unwrap().budget;
        let uploads = UploadLimits {
            owner_bytes: 1 << 30,
            owner_count: 3,
            ..UploadLimits::default()
        };
        assert_eq!(arguments.uploads(), uploads);
        let budget = arguments.over(found);
        assert_eq!(budget.limit().vcpus, Some(12));
        assert_eq!(budget.limit().memory, Some(2 << 30));
        assert_eq!(budget.per_owner.vms, Some(5));
    }
}
