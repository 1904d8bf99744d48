//! What VMs cost their host.

use banger_core::{
    domain::Bytes,
    vm::{RunningStats, VmStats},
    vmm::VmmMetrics,
};
use serde::Serialize;

use super::table;

/// What a VM costs, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VmStatsOutput {
    id: String,
    name: String,
    state: &'static str,
    disk_bytes: u64,
    running: Option<RunningOutput>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct RunningOutput {
    cpu_milliseconds: u64,
    memory_bytes: u64,
    monitor_memory_bytes: u64,
    read_bytes: u64,
    written_bytes: u64,
    calls: u32,
    machine: MachineOutput,
}

/// What a VMM counted; null where it does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct MachineOutput {
    disk_read_bytes: Option<u64>,
    disk_written_bytes: Option<u64>,
    disk_reads: Option<u64>,
    disk_writes: Option<u64>,
    network_received_bytes: Option<u64>,
    network_sent_bytes: Option<u64>,
    channel_received_bytes: Option<u64>,
    channel_sent_bytes: Option<u64>,
    exits: Option<u64>,
    refused_requests: Option<u64>,
}

impl From<VmmMetrics> for MachineOutput {
    fn from(metrics: VmmMetrics) -> Self {
        Self {
            disk_read_bytes: metrics.disk_read_bytes,
            disk_written_bytes: metrics.disk_written_bytes,
            disk_reads: metrics.disk_reads,
            disk_writes: metrics.disk_writes,
            network_received_bytes: metrics.network_received_bytes,
            network_sent_bytes: metrics.network_sent_bytes,
            channel_received_bytes: metrics.channel_received_bytes,
            channel_sent_bytes: metrics.channel_sent_bytes,
            exits: metrics.exits,
            refused_requests: metrics.refused_requests,
        }
    }
}

impl From<&VmStats> for VmStatsOutput {
    fn from(stats: &VmStats) -> Self {
        Self {
            id: stats.vm.id.to_string(),
            name: stats.vm.name.to_string(),
            state: stats.vm.state.as_str(),
            disk_bytes: stats.disk.get(),
            running: stats.running.map(|running| RunningOutput {
                cpu_milliseconds: u64::try_from(running.cpu.as_millis()).unwrap_or(u64::MAX),
                memory_bytes: running.memory.get(),
                monitor_memory_bytes: running.monitor_memory.get(),
                read_bytes: running.read.get(),
                written_bytes: running.written.get(),
                calls: running.calls,
                machine: running.machine.into(),
            }),
        }
    }
}

fn size(bytes: Option<u64>) -> String {
    told(bytes.map(Bytes::new))
}

fn told(count: Option<impl ToString>) -> String {
    count.map_or_else(|| "-".to_owned(), |count| count.to_string())
}

/// What VMs cost, for people.
#[must_use]
pub fn vm_stats_table(stats: &[VmStats]) -> String {
    let head = [
        "NAME", "STATE", "CPU TIME", "MEMORY", "READ", "WRITTEN", "NET IN", "NET OUT", "EXITS",
        "DISK", "CALLS",
    ];
    let row = |stats: &VmStats| {
        let of = |text: &dyn Fn(&RunningStats) -> String| {
            stats.running.as_ref().map_or_else(|| "-".to_owned(), text)
        };
        vec![
            stats.vm.name.to_string(),
            stats.vm.state.as_str().to_owned(),
            of(&|running| format!("{:.1}s", running.cpu.as_secs_f64())),
            of(&|running| running.memory.to_string()),
            of(&|running| running.read.to_string()),
            of(&|running| running.written.to_string()),
            of(&|running| size(running.machine.network_received_bytes)),
            of(&|running| size(running.machine.network_sent_bytes)),
            of(&|running| told(running.machine.exits)),
            stats.disk.to_string(),
            of(&|running| running.calls.to_string()),
        ]
    };
    table(&head, &stats.iter().map(row).collect::<Vec<_>>())
}
